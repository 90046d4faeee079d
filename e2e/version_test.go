package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDataOfAnotherMajorVersionIsNotTouched(t *testing.T) {
	t.Parallel()
	for data, other := range map[string]string{"15": "17", "17": "15"} {
		t.Run(data, func(t *testing.T) {
			t.Parallel()
			const image, content = "localhost/postgres:", "cd /volume && find . -type f ! -name pgdata.lock -exec md5sum {} + | sort"
			f := setup(t, "version-"+data)
			f.ok(f.Set(f.ctx, "image", image+data))
			f.up(1)
			f.verify(proven)
			require.Equal(t, data, f.sql("select current_setting('server_version_num')::int / 10000"))
			f.up(0)
			before := f.onVolume(content)
			require.Contains(t, before, "./pgdata/global/pg_control")
			f.ok(f.Set(f.ctx, "image", image+other))
			f.ok(f.Set(f.ctx, "replicas", "1"))
			f.upUntil("start: the volume holds data of PostgreSQL " + data + ", and the image is PostgreSQL " + other + ". Nothing was touched. " +
				"Set an image of PostgreSQL " + data + ", or move the rows with pg_dump into a stack with the other one")
			f.ok(f.Set(f.ctx, "replicas", "0"))
			f.upAfterKill()
			require.Equal(t, before, f.onVolume(content))
			f.ok(f.Set(f.ctx, "image", image+data))
			f.up(1)
			f.verify(proven)
		})
	}
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
