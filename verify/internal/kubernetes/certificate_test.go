package kubernetes_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/pgtest"
)

// encryptedObjects are those of a server that mounts a certificate from a Secret.
func encryptedObjects(data map[string]string) []runtime.Object {
	all := objects()
	template := &all[0].(*appsv1.StatefulSet).Spec.Template.Spec
	template.Containers[1].VolumeMounts = append(template.Containers[1].VolumeMounts, corev1.VolumeMount{Name: "tls", MountPath: "/tls"})
	template.Volumes = append(template.Volumes, corev1.Volume{Name: "tls", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
		SecretName: "certificate", Items: []corev1.KeyToPath{{Key: "tls.crt", Path: "tls.crt"}, {Key: "tls.key", Path: "tls.key"}}}}})
	secret := &corev1.Secret{ObjectMeta: meta("certificate"), Data: map[string][]byte{}}
	for key, value := range data {
		secret.Data[key] = []byte(value)
	}
	return append(all, secret)
}

func TestDiscoverFindsHowToCheckTheCertificate(t *testing.T) {
	t.Parallel()
	authority := pgtest.NewAuthority(t)
	issued := func(names ...string) string {
		certificate, _ := authority.Issue(t, time.Now().Add(time.Hour), names...)
		return certificate
	}
	for _, test := range []struct {
		name string
		data map[string]string
		want kubernetes.Certificate
	}{
		{"of the Service", map[string]string{"tls.crt": issued("a", "db.shop.svc"), "ca.crt": authority.PEM}, kubernetes.Certificate{Authority: authority.PEM, Name: "db.shop.svc"}},
		{"of another name", map[string]string{"tls.crt": issued("db.example.com"), "ca.crt": authority.PEM}, kubernetes.Certificate{Authority: authority.PEM, Name: "db.example.com"}},
		{"of a wildcard", map[string]string{"tls.crt": issued("*.example.com"), "ca.crt": authority.PEM}, kubernetes.Certificate{Authority: authority.PEM, Name: "postgres.example.com"}},
		{"of a known authority", map[string]string{"tls.crt": issued("db.example.com")}, kubernetes.Certificate{Name: "db.example.com"}},
		{"with its authority behind it", map[string]string{"tls.crt": issued("db.example.com") + authority.PEM}, kubernetes.Certificate{Authority: authority.PEM, Name: "db.example.com"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client, _ := setup(encryptedObjects(test.data)...)
			found, err := client.Discover(t.Context(), namespace, "")
			require.NoError(t, err)
			require.Equal(t, &test.want, found.Certificate)
			require.Equal(t, "not-a-real-one", found.Password)
		})
	}
}

func TestDiscoverSaysWhyACertificateCannotBeChecked(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		data map[string]string
		want string
	}{
		{map[string]string{}, "secret certificate: tls.crt holds no certificate"},
		{map[string]string{"tls.crt": "-----BEGIN CERTIFICATE-----\neA==\n-----END CERTIFICATE-----\n"}, "secret certificate: tls.crt: x509: malformed certificate"},
	} {
		client, _ := setup(encryptedObjects(test.data)...)
		_, err := client.Discover(t.Context(), namespace, "")
		require.ErrorContains(t, err, test.want)
	}

	client, clients := setup(encryptedObjects(nil)...)
	clients.PrependReactor("get", "secrets", func(action clienttesting.Action) (bool, runtime.Object, error) {
		name := action.(clienttesting.GetAction).GetName()
		return name == "certificate", nil, apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, name, nil)
	})
	_, err := client.Discover(t.Context(), namespace, "")
	require.ErrorContains(t, err, "the server offers TLS, and this user may not read Secret certificate, which holds the authority (ca.crt) to check its certificate with: "+
		"have it allowed, or use --dsn with sslmode=verify-full and sslrootcert: ")
	require.True(t, apierrors.IsForbidden(err))
}
