package warmup

import (
	"encoding/binary"
	"fmt"
	"slices"
	"syscall"
)

// What the kernel's linux/inet_diag.h and linux/sock_diag.h define.
const (
	netlinkSocketDiag = 4
	diagByFamily      = 20
	diagRequestLength = 56
	diagAnswerLength  = 72
	diagListening     = 1 << 10

	// diagPort and diagNumber are where in an answer these begin.
	diagPort, diagNumber = 4, 68
)

// diagnose asks the kernel for the sockets that listen at a port: for these alone,
// where /proc/net/tcp goes through all connections there might be, a millisecond each
// time. Not every sandbox answers.
func diagnose(port int) ([]uint64, error) {
	socket, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, netlinkSocketDiag)
	if err != nil {
		return nil, fmt.Errorf("opening a socket to the kernel: %w", err)
	}
	defer func() { _ = syscall.Close(socket) }()
	// It has answered before the request returns; should that ever change, not for ever.
	if err := syscall.SetsockoptTimeval(socket, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Sec: 1}); err != nil {
		return nil, fmt.Errorf("bounding the kernel's answer: %w", err)
	}
	var found []uint64
	for _, family := range []byte{syscall.AF_INET, syscall.AF_INET6} {
		if err := syscall.Sendto(socket, diagRequest(family, port), 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
			return nil, fmt.Errorf("asking the kernel for sockets: %w", err)
		}
		numbers, err := diagAnswers(socket, port)
		if err != nil {
			return nil, err
		}
		found = append(found, numbers...)
	}
	slices.Sort(found)
	return found, nil
}

// diagRequest is an inet_diag_req_v2 for the TCP sockets of an address family that
// listen at a port.
func diagRequest(family byte, port int) []byte {
	request := make([]byte, syscall.NLMSG_HDRLEN+diagRequestLength)
	header, body := request[:syscall.NLMSG_HDRLEN], request[syscall.NLMSG_HDRLEN:]
	binary.NativeEndian.PutUint32(header, uint32(len(request)))
	binary.NativeEndian.PutUint16(header[4:], diagByFamily)
	binary.NativeEndian.PutUint16(header[6:], syscall.NLM_F_REQUEST|syscall.NLM_F_DUMP)
	body[0], body[1] = family, syscall.IPPROTO_TCP
	binary.NativeEndian.PutUint32(body[4:], diagListening)
	binary.BigEndian.PutUint16(body[8:], uint16(port))
	return request
}

// diagAnswers reads the numbers of sockets until the kernel has told all.
func diagAnswers(socket, port int) ([]uint64, error) {
	var found []uint64
	buffer := make([]byte, 8<<10) // the kernel writes no more at a time than is asked for
	for {
		n, _, err := syscall.Recvfrom(socket, buffer, 0)
		if err != nil {
			return nil, fmt.Errorf("reading the kernel's sockets: %w", err)
		}
		messages, err := syscall.ParseNetlinkMessage(buffer[:n])
		if err != nil {
			return nil, fmt.Errorf("reading the kernel's sockets: %w", err)
		}
		for _, m := range messages {
			switch {
			case m.Header.Type == syscall.NLMSG_DONE:
				return found, nil
			case m.Header.Type == syscall.NLMSG_ERROR, len(m.Data) < diagAnswerLength:
				return nil, fmt.Errorf("asking the kernel for sockets: answer of type %d, %x", m.Header.Type, m.Data)
			case int(binary.BigEndian.Uint16(m.Data[diagPort:])) == port:
				found = append(found, uint64(binary.NativeEndian.Uint32(m.Data[diagNumber:])))
			}
		}
	}
}
