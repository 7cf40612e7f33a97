package topic

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"sluice.dev/sluice/functions/batch/objects"
	"sluice.dev/sluice/functions/batch/task"
)

// folder is one as a mounted Secret is.
func folder(t *testing.T, keys map[string]string) string {
	t.Helper()
	at := t.TempDir()
	for name, value := range keys {
		if err := os.WriteFile(filepath.Join(at, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return at
}

// certified is what a broker shows, and the certificate that it is known by.
func certified(t *testing.T) (*tls.Config, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, of, of, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	shown := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return &tls.Config{Certificates: []tls.Certificate{shown}}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// Who may not read is told so at once, with what is to be corrected.
func TestCredentials(t *testing.T) {
	shown, authority := certified(t)
	_, another := certified(t)
	c := fake(
		t, kfake.TLS(shown), kfake.SeedTopics(1, "rows"), kfake.EnableSASL(),
		kfake.Superuser("PLAIN", "plain", "p"), kfake.Superuser("SCRAM-SHA-256", "shorter", "p"), kfake.Superuser("SCRAM-SHA-512", "longer", "p"),
	)
	user := func(name, password, mechanism string) map[string]string {
		keys := map[string]string{"username": name + "\n", "password": password, "ca.crt": authority}
		if mechanism != "" {
			keys["mechanism"] = mechanism
		}
		return keys
	}
	for _, tc := range []struct {
		name string
		keys map[string]string
		want string
		says string
	}{
		{"plain", user("plain", "p", "PLAIN"), "<nil>", ""},
		{"shorter", user("shorter", "p", "SCRAM-SHA-256"), "<nil>", ""},
		{"longer", user("longer", "p", "SCRAM-SHA-512"), "<nil>", ""},
		{"as it is without a mechanism", user("longer", "p", ""), "<nil>", ""},
		{"unknown mechanism", user("longer", "p", "MD5"), "StoreRefused true", `key mechanism of the Secret is "MD5"; PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512 are known`},
		{"no password", user("longer", "", ""), "StoreRefused true", "set both, or neither"},
		{"another authority", map[string]string{"username": "longer", "password": "p", "ca.crt": another}, "StoreRefused true", "put the certificates of the brokers' authority into key ca.crt"},
		{"nobody's authority", map[string]string{"username": "longer", "password": "p"}, "StoreRefused true", "put the certificates of the brokers' authority into key ca.crt"},
		{"no certificate", map[string]string{"ca.crt": "none"}, "StoreRefused true", "key ca.crt of the Secret has no certificate in PEM"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			from := described(c.ListenAddrs()...)
			from.Input.Kafka.TLS, from.Input.Kafka.Credentials = true, folder(t, tc.keys)
			in, err := openInput(from, quick...)
			if err == nil {
				defer in.Close()
				_, err = in.Fix(t.Context(), nil)
			}
			if got := reasonOf(err); got != tc.want || err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %s, %v; want %s, %s", got, err, tc.want, tc.says)
			}
		})
	}
	// A broker answers so where a password is wrong; the fake one hangs up.
	c.ControlKey(int16(kmsg.SASLAuthenticate), func(request kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		answer, _ := request.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		answer.ErrorCode = kerr.SaslAuthenticationFailed.Code
		return answer, nil, true
	})
	from := described(c.ListenAddrs()...)
	from.Input.Kafka.TLS, from.Input.Kafka.Credentials = true, folder(t, user("longer", "q", ""))
	if _, err := openedInput(t, from).Fix(t.Context(), nil); reasonOf(err) != "StoreRefused true" {
		t.Error("a wrong password:", err)
	}
	// Without TLS, or without a name where one is asked for, nobody gets in, ever.
	for name, change := range map[string]func(*task.Kafka){
		"no TLS":  func(k *task.Kafka) { k.TLS = false },
		"no name": func(k *task.Kafka) { k.Credentials = folder(t, map[string]string{"ca.crt": authority}) },
	} {
		from := described(c.ListenAddrs()...)
		from.Retry.Patience = task.Duration(time.Second)
		from.Input.Kafka.TLS, from.Input.Kafka.Credentials = true, folder(t, user("longer", "p", ""))
		change(&from.Input.Kafka.Kafka)
		if _, err := openedInput(t, from).Fix(t.Context(), nil); err == nil || reasonOf(err) != "StoreAway false" && reasonOf(err) != "StoreRefused true" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A login that was let in before is tried again, as its password may have been replaced; one that
// wasn't is refused at once.
func TestLoginThatWasLetIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{patience: objects.Patience(time.Minute), tell: teller{"at the output", task.OutputMissing}}
		tries, right := 0, 0
		login := func() error {
			if tries++; tries != right {
				return kerr.SaslAuthenticationFailed
			}
			return nil
		}
		if err := c.try(t.Context(), login); reasonOf(err) != "StoreRefused true" || tries != 1 {
			t.Errorf("at the beginning: %v after %d tries", err, tries)
		}
		for _, right = range []int{2, 5} {
			if err := c.try(t.Context(), login); err != nil || tries != right {
				t.Errorf("with the right password at try %d: %v after %d", right, err, tries)
			}
		}
		if err := c.try(t.Context(), login); reasonOf(err) != "StoreRefused true" || tries < 10 {
			t.Errorf("for longer than there is patience: %v after %d tries", err, tries)
		}
	})
}
