// Package objects says what each Kubernetes object of the component is: a
// function for each, from what was set and observed, and from the objects that it
// really needs, to the arguments of the Pulumi SDK. None of them keeps anything,
// so their order does not matter here.
package objects

import (
	"encoding/json"
	"fmt"

	pulumicorev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	corev1 "k8s.io/api/core/v1"

	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/settings"
	"stateful-postgres/internal/certificate"
	"stateful-postgres/internal/contract"
)

// Description is what all objects are made of.
type Description struct {
	// Settings have their defaults set.
	Settings settings.Args
	Observed observe.Observation
	// FieldManager names the component of the stack, see FieldManager.
	FieldManager string
	// Preview says that nothing is made yet.
	Preview bool

	// certificate is the content of the Secret that the component makes, nil
	// without TLS and for a Secret that the settings name.
	certificate map[string][]byte
	// provided is the certificate in the Secret that the settings name.
	provided certificate.Provided
	// affinity and tolerations are the settings' in the types of the Pulumi SDK.
	// checkAffinity is that of the check.
	affinity, checkAffinity pulumicorev1.AffinityPtrInput
	tolerations             pulumicorev1.TolerationArrayInput
}

// Describe prepares the description. It makes the certificate, or reads the one
// that the settings name.
//
// A certificate is kept like the password: clients that trust the authority go on
// doing so after a destroy and a new start. Every update looks at what the
// cluster holds, and declares the same as long as it is good.
func Describe(a settings.Args, seen observe.Observation, manager string) (Description, error) {
	d := Description{Settings: a, Observed: seen, FieldManager: manager}
	if err := d.place(); err != nil {
		return d, err
	}
	var kept map[string][]byte
	if seen.CertificateSecret != nil {
		kept = seen.CertificateSecret.Data
	}
	var err error
	switch {
	case !a.TLS:
	case a.TLSSecret == "":
		if d.certificate, err = certificate.Renew(kept, certificate.ServerNames(a.Namespace, a.TLSNames), seen.Time); err != nil {
			return d, fmt.Errorf("secret %s: %w", contract.TLSSecret, err)
		}
	case kept != nil:
		if d.provided, err = certificate.Read(kept, a.ServerName(), seen.Time); err != nil {
			return d, fmt.Errorf("secret %s: %w", a.TLSSecret, err)
		}
	}
	return d, nil
}

// place converts the Kubernetes API's types to those of the Pulumi SDK, which
// have the same fields under the same names.
func (d *Description) place() error {
	if affinity := d.Settings.Affinity; affinity != nil && *affinity != (corev1.Affinity{}) {
		var err error
		if d.affinity, err = convertAffinity(*affinity); err != nil {
			return err
		}
	}
	var err error
	if d.checkAffinity, err = convertAffinity(besideServer(d.Settings.Affinity)); err != nil {
		return err
	}
	if len(d.Settings.Tolerations) > 0 {
		var converted []pulumicorev1.Toleration
		if err := convert(d.Settings.Tolerations, &converted); err != nil {
			return fmt.Errorf("tolerations: %w", err)
		}
		d.tolerations = pulumi.ToOutput(converted).(pulumicorev1.TolerationArrayOutput)
	}
	return nil
}

func convertAffinity(affinity corev1.Affinity) (pulumicorev1.AffinityPtrInput, error) {
	var converted pulumicorev1.Affinity
	if err := convert(affinity, &converted); err != nil {
		return nil, fmt.Errorf("affinity: %w", err)
	}
	return pulumi.ToOutput(converted).(pulumicorev1.AffinityOutput).ToAffinityPtrOutput(), nil
}

func convert(from, to any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}

// Object is one object to declare.
type Object[Args any] struct {
	// Title is what the object is called in messages.
	Title string
	// Suffix is what its Pulumi name adds to the component's.
	Suffix string
	// Args are nil for an object that is not to be declared.
	Args *Args
	// Data says that the object belongs to the data, and outlives the stack with it
	// unless the settings say something else.
	Data bool
	// Options are those that belong to the object, whatever it comes after.
	Options []pulumi.ResourceOption
}

// DataExpected says that there was data before this update.
func (d Description) DataExpected() bool { return d.Observed.DataExpected(d.Settings.Namespace) }
