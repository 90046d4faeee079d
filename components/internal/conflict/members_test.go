package conflict

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/problem"
	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

// servers are a StatefulSet of some servers, with data, and the pods that have
// every acknowledged write.
func servers(replicas int32, members bool, leader, standbys string) observe.Observation {
	set := &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Replicas: &replicas}}
	if members {
		set.Spec.Template.Labels = contract.MembersLabels()
	}
	return observe.Observation{Marker: &corev1.ConfigMap{}, StatefulSet: set, Sync: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Annotations: map[string]string{"leader": leader, "sync_standby": standbys},
	}}}
}

// destroyed is what a destroy leaves of servers.
func destroyed(leader, standbys string) observe.Observation {
	seen := servers(0, true, leader, standbys)
	seen.StatefulSet = nil
	return seen
}

func TestNobodyWhoMayLackWritesBegins(t *testing.T) {
	t.Parallel()
	const (
		members, alone = true, false
		off            = "true, because it can be switched off only when postgres-0 alone takes the writes, and now that is "
		on             = "1 when highAvailability is switched on, because only postgres-0 has the rows"
		start          = "because of the servers that were stopped only "
	)
	for name, test := range map[string]struct {
		highAvailability bool
		replicas         int
		seen             observe.Observation
		setting, expect  string
	}{
		"on at one":               {true, 1, servers(1, alone, "", ""), "", ""},
		"on at three":             {true, 3, servers(1, alone, "", ""), "replicas", on},
		"on from zero":            {true, 0, servers(0, alone, "postgres-0", ""), "replicas", on},
		"off at one":              {false, 1, servers(1, members, "postgres-0", ""), "", ""},
		"off with a standby":      {false, 1, servers(1, members, "postgres-0", "postgres-1"), "highAvailability", off + "postgres-0 of 1 replicas"},
		"off with three":          {false, 1, servers(3, members, "postgres-0", "postgres-1"), "highAvailability", off + "postgres-0 of 3 replicas"},
		"off without the key":     {false, 1, servers(1, members, "", ""), "highAvailability", off + "nobody of 1 replicas"},
		"destroyed, the same":     {true, 3, destroyed("postgres-1", "postgres-2"), "", ""},
		"destroyed, too few":      {true, 1, destroyed("postgres-1", "postgres-2"), "replicas", "at least 2, " + start + "postgres-1 or postgres-2 has every acknowledged write"},
		"destroyed, then alone":   {false, 1, destroyed("postgres-1", "postgres-0"), "highAvailability", off + "postgres-1 of 0 replicas"},
		"destroyed after off":     {false, 1, destroyed("postgres-0", ""), "", ""},
		"never several":           {false, 1, servers(1, alone, "", ""), "", ""},
		"from zero":               {true, 2, servers(0, members, "postgres-2", ""), "replicas", "at least 3, " + start + "postgres-2 has every acknowledged write"},
		"from zero, enough":       {true, 3, servers(0, members, "postgres-2", ""), "", ""},
		"from zero without a key": {true, 1, servers(0, members, "", ""), "", ""},
		"fewer, handed over":      {true, 1, servers(3, members, "postgres-2", "postgres-1"), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := membersOf(test.highAvailability, test.replicas, test.seen)
			if test.expect == "" {
				require.Nil(t, found)
				return
			}
			require.NotNil(t, found)
			require.Equal(t, test.setting, found.Setting)
			require.Equal(t, test.expect, found.Expected)
		})
	}
}

// The volume of the first server is gone, with its claim.
func TestVolumeThatIsLostBeginsNoDatabaseBesideTheOthers(t *testing.T) {
	t.Parallel()
	const (
		lost = `claim postgredb-postgres-0: got none, expected one with every acknowledged write, because this server had data and ` +
			`the volume of claim postgredb-postgres-0 is gone; name a volume that has it with: pulumi config set volumeName, ` +
			`or begin again without the old rows, from replicas 0: pulumi config set highAvailability false, with initializeEmptyVolume true`
		goOn = `, or go on with another server, without the writes that it lacks: ` +
			`kubectl -n codewizard annotate --overwrite configmap postgres-ha-sync leader=postgres-N`
		off = `highAvailability: got "false", expected true, because it can be switched off only when postgres-0 alone takes the writes, and now that is `
		one = `replicas: got "3", expected 1 when highAvailability is switched on, because only postgres-0 has the rows; ` +
			`set it with: pulumi config set replicas 1, run pulumi up, and then set more`
		on = `; set it with: pulumi config set highAvailability true, with replicas 1, run pulumi up, and then switch it off`
	)
	gone := servers(0, false, "", "")
	gone.StatefulSet, gone.Sync = nil, nil
	for name, test := range map[string]struct {
		highAvailability, anew bool
		seen                   observe.Observation
		expect                 string
	}{
		"another has every write":          {true, false, servers(3, true, "postgres-1", "postgres-2"), ""},
		"a standby has every write":        {true, false, servers(3, true, "postgres-0", "postgres-1"), ""},
		"it alone had every write":         {true, false, servers(3, true, "postgres-0", ""), lost + goOn},
		"nobody knows":                     {true, false, servers(0, true, "", ""), lost + goOn},
		"all is gone":                      {true, false, gone, lost + "\n" + one},
		"off, and another has every write": {false, true, servers(0, true, "postgres-1", ""), off + "postgres-1 of 0 replicas" + on},
		"off after a destroy":              {false, true, destroyed("postgres-0", "postgres-1"), off + "postgres-0 of 0 replicas" + on},
		"off, and others run":              {false, true, servers(3, true, "postgres-0", ""), off + "postgres-0 of 3 replicas" + on},
		"off, and nobody has what it lost": {false, true, servers(0, true, "postgres-0", ""), ""},
		"off, and all is gone":             {false, true, gone, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.seen.NamespaceExists = true
			replicas := 3
			if !test.highAvailability {
				replicas = 1
			}
			found := data(settings.Args{HighAvailability: test.highAvailability, InitializeEmptyVolume: test.anew, Replicas: &replicas}.WithDefaults(), test.seen)
			if test.expect == "" {
				require.Empty(t, found)
				return
			}
			var lines []string
			for _, wrong := range found {
				lines = append(lines, wrong.Line(problem.CommandLine))
			}
			require.Equal(t, test.expect, strings.Join(lines, "\n"))
		})
	}
}

func TestServersOfferTLSBeforeItIsRequired(t *testing.T) {
	t.Parallel()
	offering := servers(3, true, "postgres-0", "postgres-1")
	offering.StatefulSet.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "tls"}}
	three := 3
	required := settings.Args{HighAvailability: true, Replicas: &three, TLS: true, RequireTLS: true}.WithDefaults()
	require.Nil(t, members(required, offering))
	require.Nil(t, members(required, servers(1, true, "postgres-0", "")), "one server has nobody to follow")
	found := members(required, servers(3, true, "postgres-0", "postgres-1"))
	require.NotNil(t, found)
	require.Equal(t, []string{"requireTls", "false until all 3 servers offer TLS"}, []string{found.Setting, found.Expected})
}

func membersOf(highAvailability bool, replicas int, seen observe.Observation) *problem.Problem {
	return members(settings.Args{HighAvailability: highAvailability, Replicas: &replicas}.WithDefaults(), seen)
}
