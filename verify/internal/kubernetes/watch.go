package kubernetes

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// WatchPods calls see with the pods of the StatefulSet each time one of them has changed, until ctx ends.
// While the API server does not answer, or does not let us look, nothing is seen; it is asked again.
func (c *Cluster) WatchPods(ctx context.Context, objects Objects, see func([]*corev1.Pod)) {
	pods := c.Core.Pods(objects.Namespace)
	watchAll(ctx, c.Core, pods.List, pods.Watch, func(all []*corev1.Pod) {
		see(slices.DeleteFunc(all, func(pod *corev1.Pod) bool { return !ownedBy(pod.OwnerReferences, "StatefulSet", objects.StatefulSet) }))
	})
}

// WatchNodes is WatchPods for the nodes of the cluster.
func (c *Cluster) WatchNodes(ctx context.Context, see func([]*corev1.Node)) {
	nodes := c.Core.Nodes()
	watchAll(ctx, c.Core, nodes.List, nodes.Watch, see)
}

// watchAll calls see with all objects of a kind each time one of them has changed. The client says whether the
// first look may be a part of the watch.
func watchAll[T any, P interface {
	*T
	runtime.Object
}, L runtime.Object](
	ctx context.Context, client any,
	list func(context.Context, metav1.ListOptions) (L, error),
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error),
	see func([]P),
) {
	var store cache.Store
	changed := func() {
		var all []P
		for _, object := range store.List() {
			all = append(all, object.(P))
		}
		see(all)
	}
	lister := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return list(ctx, options)
		},
		WatchFuncWithContext: watch,
	}
	var controller cache.Controller
	store, controller = cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.ToListWatcherWithWatchListSemantics(lister, client),
		ObjectType:    P(new(T)),
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { changed() },
			UpdateFunc: func(any, any) { changed() },
			DeleteFunc: func(any) { changed() },
		},
	})
	controller.RunWithContext(ctx)
}
