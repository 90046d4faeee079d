package observe

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Forbidden says that the credentials do not allow to read something in the
// namespace. An update would need to write it as well.
type Forbidden struct {
	Namespace string
	// Kinds are what the API calls them, like persistentvolumeclaims.
	Kinds []string
	// First is the API server's answer about the first of them.
	First error
}

// Error is one line.
func (f *Forbidden) Error() string {
	return fmt.Sprintf("these credentials may not read %s in namespace %s: %v", strings.Join(f.Kinds, ", "), f.Namespace, f.First)
}

// Unwrap is the API server's answer.
func (f *Forbidden) Unwrap() error { return f.First }

// forbiddenIn gathers what may not be read from the errors of looks, nil when all
// that failed has another reason.
func forbiddenIn(namespace string, failed []error) error {
	forbidden := &Forbidden{Namespace: namespace}
	for _, err := range failed {
		var status apierrors.APIStatus
		if !apierrors.IsForbidden(err) || !errors.As(err, &status) {
			continue
		}
		if forbidden.First == nil {
			forbidden.First = status.(error)
		}
		if details := status.Status().Details; details != nil && !slices.Contains(forbidden.Kinds, details.Kind) {
			forbidden.Kinds = append(forbidden.Kinds, details.Kind)
		}
	}
	if forbidden.First == nil {
		return nil
	}
	slices.Sort(forbidden.Kinds)
	return forbidden
}

// explained says what to do about a look that failed: three causes that look
// alike and need different answers.
func explained(err error, server string) error {
	var forbidden *Forbidden
	switch {
	case errors.As(err, &forbidden):
		return fmt.Errorf("%w; nothing was changed; ask for the ClusterRole admin in this namespace, "+
			"or correct the namespace, kubernetes:context or kubernetes:kubeconfig; see: kubectl auth can-i --list --namespace=%s", err, forbidden.Namespace)
	case apierrors.IsUnauthorized(err) || isCredentialPlugin(err):
		return fmt.Errorf("the cluster at %s does not know these credentials: %w; nothing was changed; "+
			"log in to it again, or correct kubernetes:context or kubernetes:kubeconfig; see: kubectl auth whoami", server, err)
	}
	return fmt.Errorf("the cluster at %s did not answer: %w; nothing was changed; "+
		"start the cluster, or correct kubernetes:context or kubernetes:kubeconfig; see: kubectl cluster-info", server, err)
}

// isCredentialPlugin says whether the program that a kubeconfig names could not
// get any credentials. Client-go has no type for that, and sends nothing then.
func isCredentialPlugin(err error) bool {
	return strings.Contains(err.Error(), "getting credentials: ")
}
