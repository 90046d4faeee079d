package objects

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"stateful-postgres/internal/contract"
)

// Certificate is the Secret with the certificate that the component makes.
func Certificate(d Description) Object[corev1.SecretArgs] {
	object := Object[corev1.SecretArgs]{
		Title: "secret " + contract.TLSSecret, Suffix: "-tls",
		Data: true,
	}
	if d.certificate == nil {
		return object
	}
	data := pulumi.StringMap{}
	for key, value := range d.certificate {
		data[key] = pulumi.String(base64.StdEncoding.EncodeToString(value))
	}
	if d.Observed.NoCluster {
		// What this run made is for a first update; nothing says that the
		// certificate of an earlier one has to go.
		object.Options = append(object.Options, pulumi.IgnoreChanges([]string{"data"}))
	}
	object.Args = &corev1.SecretArgs{
		Metadata: d.metadata(contract.TLSSecret, nil),
		Type:     pulumi.String("kubernetes.io/tls"),
		Data:     pulumi.ToSecret(data).(pulumi.StringMapOutput),
	}
	return object
}

// Authority is what clients have to trust, "" when that is up to them.
// certificate is the component's Secret, nil when there is none.
func Authority(d Description, certificate *corev1.Secret) pulumi.StringOutput {
	if certificate == nil {
		return pulumi.String(d.provided.Authority).ToStringOutput()
	}
	authority := certificate.Data.ApplyT(func(data map[string]string) (string, error) {
		return decoded(data, contract.TLSSecret, contract.AuthorityKey)
	}).(pulumi.StringOutput)
	// It is what every client is given.
	return pulumi.Unsecret(authority).(pulumi.StringOutput)
}

// ServerName is the name that the server's certificate is to be checked for, ""
// without one.
func ServerName(d Description) string {
	if !d.Settings.TLS {
		return ""
	}
	return cmp.Or(d.provided.Name, d.Settings.ServerName())
}

// authorityDigest changes when clients have to trust another authority. Only
// then the pod is replaced, so that the server shows what the outputs say once
// the update is done; a renewed certificate is left to the running server.
func authorityDigest(d Description, certificate *corev1.Secret) pulumi.StringOutput {
	return Authority(d, certificate).ApplyT(func(authority string) string {
		sum := sha256.Sum256([]byte(authority))
		return hex.EncodeToString(sum[:])
	}).(pulumi.StringOutput)
}
