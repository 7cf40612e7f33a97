package usage

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/functions/counters"
	"sluice.dev/sluice/functions/usage/account"
	"sluice.dev/sluice/functions/usage/split"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/warmup"
	sluiceclient "sluice.dev/sluice/reconciler/client/clientset/versioned/typed/sluice/v1alpha1"
)

const (
	// look is how often it is looked what there is to do.
	look = time.Second
	// answerWithin is how long a pod or a node may take to answer.
	answerWithin = time.Second
	// askedAtOnce bounds the replicas and nodes that are asked, and Usages that are written, at the same time.
	askedAtOnce = 8
)

// Cluster is what there is.
type Cluster interface {
	GatewayPods() ([]*corev1.Pod, error)
	Replicas() ([]*corev1.Pod, error)
	Node(name string) (Node, error)
	Model(name types.NamespacedName) (Model, bool)
}

// Sender hands an event to the Broker.
type Sender interface {
	Send(ctx context.Context, event cloudevents.Event) error
}

// Ledger adds up who used what, while it runs; one at a time may.
type Ledger struct {
	Cluster Cluster
	Usages  sluiceclient.UsagesGetter
	// Kube has where it is noted since when is counted, in Namespace; CRD is that of Usages.
	Kube      kubernetes.Interface
	Namespace string
	Since     func(ctx context.Context) (uid types.UID, err error)
	Events    Sender
	Clock     clock.WithTicker
	Log       *zap.SugaredLogger

	// read, resources and warm are how gateway pods, nodes and replicas are asked.
	read      func(ctx context.Context, ip string, known func(types.NamespacedName) bool) (counted, error)
	resources func(ctx context.Context, node Node, wanted func(types.NamespacedName) bool) (map[types.NamespacedName]resources, error)
	warm      func(ctx context.Context, ip string) (warmup.Status, error)

	// ending wakes what writes as a gateway pod ends.
	ending chan struct{}

	mu sync.Mutex
	// books of all Models with a Usage, or of which something is to be written in one.
	books map[types.NamespacedName]*kept
	// left is what is known of those of which nothing is kept any more.
	left map[types.NamespacedName]*account.Book
	// followed gateway pods, and replicas that were seen.
	followed map[types.UID]*followed
	replicas map[types.UID]*seen
}

// kept is a Model's book, with its Usage as it was written last, nil for none.
type kept struct {
	book   *account.Book
	object *v1alpha1.Usage
	// writing and sending are true while that is under way; notBefore and sendAfter are when it may be
	// tried again.
	writing, sending     bool
	notBefore, sendAfter time.Time
}

// seen is what is known of a replica.
type seen struct {
	model   types.NamespacedName
	pod     *corev1.Pod
	changes []split.Change
	// beyond is what it used of CPU, in seconds, beside its containers as they are now: those that were
	// started again, and what holds them together.
	beyond float64
}

// New returns a ledger that asks kubelets through a client, which has to know whom to trust.
func New(kubelets *http.Client) *Ledger {
	// A pod that ends waits for its connections: none is kept.
	pods := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return &Ledger{
		Clock: clock.RealClock{}, Log: zap.NewNop().Sugar(),
		read: func(ctx context.Context, ip string, known func(types.NamespacedName) bool) (counted, error) {
			return countedAt(ctx, pods, counters.Address(ip), known)
		},
		resources: func(ctx context.Context, node Node, wanted func(types.NamespacedName) bool) (map[types.NamespacedName]resources, error) {
			return resourcesAt(ctx, kubelets, node, wanted)
		},
		warm: func(ctx context.Context, ip string) (warmup.Status, error) {
			return warmup.Ask(ctx, pods, warmAddress(ip))
		},
		ending: make(chan struct{}, 1),
		books:  map[types.NamespacedName]*kept{}, left: map[types.NamespacedName]*account.Book{}, followed: map[types.UID]*followed{}, replicas: map[types.UID]*seen{},
	}
}

// Run keeps the ledger until the context ends, and then writes what there is.
func (l *Ledger) Run(ctx context.Context) error {
	if err := l.open(ctx); err != nil {
		return err
	}
	if err := l.begin(ctx); err != nil {
		return err
	}
	l.settle()
	var running sync.WaitGroup
	for _, run := range []func(context.Context){l.followGateways, l.followReplicas, l.send, l.tidy} {
		running.Go(func() { run(ctx) })
	}
	l.writeAll(ctx)
	running.Wait()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWrite)
	defer cancel()
	l.write(ending, true)
	return nil
}

// every does something at once and then again and again, until the context ends.
func (l *Ledger) every(ctx context.Context, interval time.Duration, do func()) {
	ticker := l.Clock.NewTicker(interval)
	defer ticker.Stop()
	for {
		do()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
	}
}

// known is true of a Model that there is, or was.
func (l *Ledger) known(name types.NamespacedName) bool {
	if _, ok := l.Cluster.Model(name); ok {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.books[name] != nil
}

// of is the book of a Model, a new one where it has none. It needs the lock.
func (l *Ledger) of(name types.NamespacedName) *account.Book {
	k := l.books[name]
	if k == nil {
		k = &kept{book: account.Open(&v1alpha1.UsageStatus{})}
		if left := l.left[name]; left != nil {
			k.book = left
			delete(l.left, name)
		}
		l.books[name] = k
		keptModels.Set(float64(len(l.books)))
	}
	if model, ok := l.Cluster.Model(name); ok {
		k.book.Owner(model.UID, model.Tenant)
	}
	return k.book
}

// drop keeps no more of a Model, but what its gateway pods have counted that are there still. It needs
// the lock.
func (l *Ledger) drop(name types.NamespacedName) {
	if left := l.books[name].book.Left(); left != nil {
		l.left[name] = account.Open(left)
	}
	delete(l.books, name)
	keptModels.Set(float64(len(l.books)))
}

// settle ends the accounts of those pods that ended while nobody looked.
func (l *Ledger) settle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.Clock.Now()
	there := map[types.UID]bool{}
	for _, list := range []func() ([]*corev1.Pod, error){l.Cluster.GatewayPods, l.Cluster.Replicas} {
		pods, err := list()
		if err != nil {
			l.Log.Errorw("Pods not listed", zap.Error(err))
			return
		}
		for _, pod := range pods {
			there[pod.UID] = true
		}
	}
	for _, k := range l.books {
		for _, pod := range k.book.GatewayPods() {
			if !there[pod] {
				k.book.Gone(now, pod, now.Sub(k.book.At()))
				podsEnded.WithLabelValues("uncertain").Inc()
			}
		}
		for _, pod := range k.book.Pods() {
			if !there[pod] {
				k.book.Ended(now, account.Replica{UID: pod}, time.Time{})
			}
		}
	}
}

// open reads all Usages.
func (l *Ledger) open(ctx context.Context) error {
	all, err := l.list(ctx)
	if err != nil {
		return fmt.Errorf("listing usages: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range all {
		name := types.NamespacedName{Namespace: all[i].Namespace, Name: all[i].Name}
		l.books[name] = &kept{book: account.Open(&all[i].Status), object: &all[i]}
	}
	keptModels.Set(float64(len(l.books)))
	return nil
}

// names are those of all Models that are kept, sorted. It needs the lock.
func (l *Ledger) names() []types.NamespacedName {
	names := make([]types.NamespacedName, 0, len(l.books))
	for name := range l.books {
		names = append(names, name)
	}
	slices.SortFunc(names, byName)
	return names
}
