package machine

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Unmount takes away every mount below the folders. It returns an error if one
// remains: nothing below it may then be removed.
func Unmount(dirs ...string) error {
	for range 5 { // mounts may be stacked
		points, err := MountsBelow(dirs...)
		if err != nil || len(points) == 0 {
			return err
		}
		for _, point := range points {
			_ = unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
	}
	points, err := MountsBelow(dirs...)
	if err == nil && len(points) > 0 {
		err = fmt.Errorf("%s stays mounted", points[0])
	}
	return err
}
