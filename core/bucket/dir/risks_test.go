package dir

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestRisksOfAFileSystem(t *testing.T) {
	const device = "254:1"
	uevent := func(name string) string { return "MAJOR=254\nMINOR=1\nDEVNAME=" + name + "\nDEVTYPE=partition\n" }
	mounted := func(kind, options string) string {
		return "22 27 0:21 / /proc rw,relatime - proc proc rw\n" +
			"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,nobarrier\n" +
			"31 27 254:1 /data /mnt/a\\040b rw,noatime shared:7 master:1 - " + kind + " /dev/vda1 " + options + "\n"
	}
	const journal, barrier = "tune2fs -O has_journal", "the option nobarrier"
	for _, tt := range []struct {
		name   string
		system map[string]string // empty: a system that exposes nothing
		want   []string
	}{
		{"an ext4", map[string]string{
			"sys/dev/block/254:1/uevent":    uevent("vda1"),
			"sys/fs/ext4/vda1/journal_task": "341\n",
			"proc/self/mountinfo":           mounted("ext4", "rw,errors=remount-ro"),
		}, nil},
		{"an ext4 without a journal", map[string]string{
			"sys/dev/block/254:1/uevent":    uevent("vda1"),
			"sys/fs/ext4/vda1/journal_task": "<none>\n",
			"proc/self/mountinfo":           mounted("ext4", "rw"),
		}, []string{journal + " /dev/vda1"}},
		{"one in a container that hides mounts", map[string]string{
			"sys/dev/block/254:1/uevent":    uevent("vda1"),
			"sys/fs/ext4/vda1/journal_task": "<none>\n",
		}, []string{journal + " /dev/vda1"}},
		{"one on a device in a directory of devices", map[string]string{
			"sys/dev/block/254:1/uevent":            uevent("cciss/c0d0p1"),
			"sys/fs/ext4/cciss!c0d0p1/journal_task": "<none>\n",
		}, []string{journal + " /dev/cciss/c0d0p1"}},
		{"one that is mounted as ext2", map[string]string{
			"sys/dev/block/254:1/uevent": uevent("vda1"),
			"proc/self/mountinfo":        mounted("ext2", "rw"),
		}, []string{journal}},
		{"an ext4 without barriers", map[string]string{
			"sys/dev/block/254:1/uevent":    uevent("vda1"),
			"sys/fs/ext4/vda1/journal_task": "341\n",
			"proc/self/mountinfo":           mounted("ext4", "rw,nobarrier,data=ordered"),
		}, []string{barrier}},
		{"one without a journal or barriers", map[string]string{
			"sys/dev/block/254:1/uevent":    uevent("vda1"),
			"sys/fs/ext4/vda1/journal_task": "<none>\n",
			"proc/self/mountinfo":           mounted("ext4", "rw,barrier=0"),
		}, []string{journal, barrier}},
		{"an XFS", map[string]string{
			"sys/dev/block/254:1/uevent": uevent("vda1"),
			"proc/self/mountinfo":        mounted("xfs", "rw,attr2,inode64"),
		}, nil},
		// Unknown facts are not reported.
		{"another device", map[string]string{
			"sys/dev/block/254:0/uevent":   uevent("vda"),
			"sys/fs/ext4/vda/journal_task": "<none>\n",
			"proc/self/mountinfo":          "27 1 254:0 / / rw - ext4 /dev/vda rw,nobarrier\n",
		}, nil},
		{"a kernel that does not expose journals", map[string]string{
			"sys/dev/block/254:1/uevent":   uevent("vda1"),
			"sys/fs/ext4/vda1/msg_count":   "0\n",
			"sys/fs/ext4/vda/journal_task": "<none>\n",
			"proc/self/mountinfo":          mounted("ext4", "rw"),
		}, nil},
		{"malformed lines", map[string]string{
			"sys/dev/block/254:1/uevent": "DEVNAME\n",
			"proc/self/mountinfo":        "254:1\n31 27 254:1 -\n31 27 254:1 / / rw - ext4 /dev/vda1\n",
		}, nil},
		{"no system", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			system := fstest.MapFS{}
			for name, content := range tt.system {
				system[name] = &fstest.MapFile{Data: []byte(content)}
			}
			got := risksOf(system, device)
			if len(got) != len(tt.want) {
				t.Fatalf("got %q, want %d", got, len(tt.want))
			}
			for i, want := range tt.want {
				if !strings.Contains(got[i], want) || strings.Contains(got[i], "\n") {
					t.Errorf("got %q, want one that names %q", got[i], want)
				}
			}
		})
	}
}
