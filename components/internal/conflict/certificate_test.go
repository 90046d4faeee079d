package conflict

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/problem"
	"stateful-postgres/components/settings"
	"stateful-postgres/internal/certificate"
	"stateful-postgres/internal/contract"
)

var birth = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestTLSSecretIsLookedAtBeforeTheServerGetsIt(t *testing.T) {
	t.Parallel()
	args := settings.Args{TLS: true, TLSSecret: "mine", Namespace: "shop"}
	content, err := certificate.Renew(nil, []string{"db.example.com"}, birth)
	require.NoError(t, err)
	const doesNotDo = `tlsSecret: got "mine", expected a Secret with a certificate (tls.crt) and its key (tls.key) that clients accept; this one does not do: `
	for _, test := range []struct {
		name string
		args settings.Args
		live observe.Observation
		want string
	}{
		{"good", args, observe.Observation{CertificateSecret: &corev1.Secret{Data: content}}, ""},
		{
			"missing", args, observe.Observation{},
			`tlsSecret: got "mine", expected a Secret that exists in namespace shop; make it with: kubectl create secret tls mine -n shop --cert=FILE --key=FILE, or remove it with: pulumi config rm tlsSecret`,
		},
		{"not looked at", args, observe.Observation{NoCluster: true}, ""},
		{
			"no certificate", args, observe.Observation{CertificateSecret: &corev1.Secret{Data: map[string][]byte{"password": []byte("x")}}},
			doesNotDo + `it has no tls.crt; replace its content, or remove it with: pulumi config rm tlsSecret`,
		},
		{"not used", settings.Args{TLSSecret: "mine"}, observe.Observation{}, ""},
		{"made by the component for the first time", settings.Args{TLS: true}, observe.Observation{}, ""},
		{
			"made by the component before", settings.Args{TLS: true},
			observe.Observation{CertificateSecret: &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{contract.AnnotationFieldManager: "pulumi-p-s"}}}}, "",
		},
		{
			"made by somebody else under the component's name", settings.Args{TLS: true, Namespace: "shop"}, observe.Observation{CertificateSecret: &corev1.Secret{}},
			`tls: got "true", expected no Secret postgres-tls in namespace shop that is not the component's; give it another name and set tlsSecret to that, or delete it`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.live.Time = birth
			wrong := certificateSecret(test.args, test.live)
			if test.want == "" {
				require.Nil(t, wrong)
				return
			}
			require.Equal(t, test.want, wrong.Line(problem.CommandLine))
		})
	}
	require.Equal(t, "mine", args.CertificateSecret())
	require.Equal(t, "postgres-tls", settings.Args{TLS: true}.CertificateSecret())
	require.Empty(t, settings.Args{TLSSecret: "mine"}.CertificateSecret())
}
