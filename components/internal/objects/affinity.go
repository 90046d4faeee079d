package objects

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"stateful-postgres/internal/contract"
)

// besideServer is the affinity of the check: that of the server, and near to the
// one that runs, whose node is the one that counts. Terms that keep servers apart
// would keep the check away from the very node, so they are left out.
func besideServer(server *corev1.Affinity) corev1.Affinity {
	check := corev1.Affinity{PodAffinity: &corev1.PodAffinity{}}
	if server != nil {
		check.NodeAffinity = server.NodeAffinity
		if near := server.PodAffinity; near != nil {
			check.PodAffinity = near.DeepCopy()
		}
		if apart := server.PodAntiAffinity; apart != nil {
			check.PodAntiAffinity = apartFromOthers(*apart)
		}
	}
	check.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution = append(
		check.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution,
		corev1.WeightedPodAffinityTerm{Weight: 100, PodAffinityTerm: corev1.PodAffinityTerm{
			TopologyKey:   corev1.LabelHostname,
			LabelSelector: &metav1.LabelSelector{MatchLabels: contract.SelectorLabels()},
		}})
	return check
}

// apartFromOthers is what is left of an anti-affinity without the terms that the
// server's own pod fits, nil for nothing.
func apartFromOthers(apart corev1.PodAntiAffinity) *corev1.PodAntiAffinity {
	var others corev1.PodAntiAffinity
	for _, term := range apart.RequiredDuringSchedulingIgnoredDuringExecution {
		if !fitsServer(term) {
			others.RequiredDuringSchedulingIgnoredDuringExecution = append(others.RequiredDuringSchedulingIgnoredDuringExecution, term)
		}
	}
	for _, term := range apart.PreferredDuringSchedulingIgnoredDuringExecution {
		if !fitsServer(term.PodAffinityTerm) {
			others.PreferredDuringSchedulingIgnoredDuringExecution = append(others.PreferredDuringSchedulingIgnoredDuringExecution, term)
		}
	}
	if len(others.RequiredDuringSchedulingIgnoredDuringExecution)+len(others.PreferredDuringSchedulingIgnoredDuringExecution) == 0 {
		return nil
	}
	return &others
}

// fitsServer says whether a term is about pods like the server's. One that the
// API server will refuse is about none.
func fitsServer(term corev1.PodAffinityTerm) bool {
	selector, err := metav1.LabelSelectorAsSelector(term.LabelSelector)
	return err == nil && selector.Matches(labels.Set(contract.ObjectLabels()))
}
