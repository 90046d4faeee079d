package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDataOfAnotherMajorVersionIsNotTouched(t *testing.T) {
	t.Parallel()
	f := setup(t, "version")
	f.up(1)
	f.verify(proven)
	image := f.sql("select current_setting('server_version_num')::int / 10000")
	f.up(0)
	const content = "cd /volume && find . -type f -exec md5sum {} + | sort"
	for _, volume := range []string{"9", "99"} {
		f.onVolume("echo " + volume + " >/volume/pgdata/PG_VERSION")
		before := f.onVolume(content)
		require.Contains(t, before, "./pgdata/global/pg_control")
		f.ok(f.Set(f.ctx, "replicas", "1"))
		f.upUntil("start: the volume holds data of PostgreSQL " + volume + ", and the image is PostgreSQL " + image + ". Nothing was touched. " +
			"Set an image of PostgreSQL " + volume + ", or move the rows with pg_dump into a stack with the other one")
		f.ok(f.Set(f.ctx, "replicas", "0"))
		f.upAfterKill()
		require.Equal(t, before, f.onVolume(content))
	}
	f.onVolume("echo " + image + " >/volume/pgdata/PG_VERSION")
	f.up(1)
	f.verify(proven)
}

func TestImageByDigest(t *testing.T) {
	t.Parallel()
	f := setup(t, "digest")
	f.up(1)
	f.verify(proven)
	image := f.kubectl("get", "pod", pod, "--output=jsonpath={.status.containerStatuses[0].imageID}")
	require.Regexp(t, `^[^@]+@sha256:[0-9a-f]{64}$`, image)
	f.ok(f.Set(f.ctx, "image", image))
	f.up(1)
	require.Equal(t, image, f.kubectl("get", "pod", pod, "--output=jsonpath={.spec.containers[0].image}"))
	f.verify(proven)
}
