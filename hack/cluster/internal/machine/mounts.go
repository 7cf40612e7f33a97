package machine

import (
	"os"
	"sort"
	"strings"
)

// MountsBelow lists the mount points at or below any of the folders, the
// deepest first.
func MountsBelow(dirs ...string) ([]string, error) {
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	points := mountPoints(string(content), dirs)
	sort.Sort(sort.Reverse(sort.StringSlice(points)))
	return points, nil
}

// mountPoints picks field 5 of mountinfo's lines, in which the kernel writes
// blanks and the like as octal escapes.
func mountPoints(mountinfo string, dirs []string) []string {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var points []string
	for _, line := range strings.Split(mountinfo, "\n") {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		point := unescape.Replace(fields[4])
		for _, dir := range dirs {
			if point == dir || strings.HasPrefix(point, dir+"/") {
				points = append(points, point)
				break
			}
		}
	}
	return points
}
