package usage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/functions/usage/account"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// lastWrite bounds what is written as the ledger ends.
	lastWrite = 10 * time.Second
	// writeAgain is after how long a write that failed is tried again.
	writeAgain = 5 * time.Second
	// nodeWithin is how long a kubelet may take, which asks the runtime of each container.
	nodeWithin = 4 * time.Second
	// listed bounds the Usages that are listed at a time.
	listed = 500
	// tidyEvery is how often is looked for Usages of what is long gone, which are kept for keptFor.
	tidyEvery, keptFor = time.Hour, 7 * 24 * time.Hour
)

// writeAll writes what there is, when it is time, until the context ends.
func (l *Ledger) writeAll(ctx context.Context) {
	ticker := l.Clock.NewTicker(look)
	defer ticker.Stop()
	for {
		l.write(ctx, false)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		case <-l.ending:
		}
	}
}

// write writes the Usages that it is time for, or all that have something to write.
func (l *Ledger) write(ctx context.Context, all bool) {
	var group errgroup.Group
	group.SetLimit(askedAtOnce)
	for _, name := range l.due(all) {
		group.Go(func() error {
			l.writeOne(ctx, name)
			return nil
		})
	}
	_ = group.Wait() // what isn't written is tried again
}

//nolint:revive // as of write
func (l *Ledger) due(all bool) (due []types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.Clock.Now()
	for _, name := range l.names() {
		k := l.books[name]
		if k.writing || !k.book.Changed() || !all && (now.Before(k.notBefore) || !k.book.Due(now)) {
			continue
		}
		k.writing = true
		due = append(due, name)
	}
	return due
}

func (l *Ledger) writeOne(ctx context.Context, name types.NamespacedName) {
	l.mu.Lock()
	k := l.books[name]
	status, object := k.book.Close(l.Clock.Now()), k.object
	dropped := k.book.Dropped
	k.book.Dropped = 0
	l.mu.Unlock()
	eventsSent.WithLabelValues("dropped").Add(float64(dropped))

	written, err := l.put(ctx, name, object, status)
	l.mu.Lock()
	defer l.mu.Unlock()
	k.writing = false
	switch {
	case err == nil:
		writes.WithLabelValues("written").Inc()
		k.object = written
		return
	case apierrs.IsNotFound(err):
		writes.WithLabelValues("failed").Inc()
		l.drop(name)
		l.Log.Infow("Usage has gone with its namespace", zap.Stringer("model", name))
		return
	case apierrs.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		writes.WithLabelValues("failed").Inc()
		k.book.Again()
		k.notBefore = l.Clock.Now().Add(account.WriteEvery) // it will have gone
		return
	}
	outcome := "failed"
	if apierrs.IsConflict(err) || apierrs.IsAlreadyExists(err) {
		outcome = "conflict"
	}
	writes.WithLabelValues(outcome).Inc()
	l.Log.Warnw("Usage not written; it will be again", zap.Stringer("model", name), zap.Error(err))
	k.book.Again()
	k.notBefore = l.Clock.Now().Add(writeAgain)
	l.compare(ctx, name, k, status)
}

// put writes a status in one update; a Usage that isn't there is made before.
func (l *Ledger) put(ctx context.Context, name types.NamespacedName, object *v1alpha1.Usage, status *v1alpha1.UsageStatus) (*v1alpha1.Usage, error) {
	client := l.Usages.Usages(name.Namespace)
	for range 2 {
		if object == nil {
			var err error
			object, err = client.Create(ctx, &v1alpha1.Usage{ObjectMeta: metav1.ObjectMeta{
				Namespace: name.Namespace, Name: name.Name,
				Labels: map[string]string{sluice.ModelLabelKey: name.Name, sluice.ManagedByLabelKey: sluice.ManagedBy},
			}}, metav1.CreateOptions{})
			if err != nil {
				return nil, fmt.Errorf("creating it: %w", err)
			}
		}
		updated := object.DeepCopy()
		updated.Status = *status
		written, err := client.UpdateStatus(ctx, updated, metav1.UpdateOptions{})
		if apierrs.IsNotFound(err) {
			object = nil // somebody deleted it
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("updating its status: %w", err)
		}
		return written, nil
	}
	return nil, apierrs.NewConflict(v1alpha1.Resource("usages"), name.Name, errors.New("it is deleted as soon as it is made"))
}

// compare finds out what there is after a write failed: it may have been done all the same, or somebody
// else may have written. Then what that one counted stands, and the rest is counted again. It needs the
// lock, and gives it up while it asks.
func (l *Ledger) compare(ctx context.Context, name types.NamespacedName, k *kept, tried *v1alpha1.UsageStatus) {
	k.writing = true
	l.mu.Unlock()
	found, err := l.Usages.Usages(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
	l.mu.Lock()
	k.writing = false
	switch {
	case apierrs.IsNotFound(err):
		k.object = nil
	case err != nil:
	case found.Status.Accounted.At.Equal(&tried.Accounted.At):
		k.object = found
	case k.object != nil && found.ResourceVersion == k.object.ResourceVersion:
	case k.object != nil && found.Status.Accounted.At.Equal(&k.object.Status.Accounted.At):
		k.object = found // its metadata is another
	case k.object == nil && found.Status.Accounted.At.IsZero():
		k.object = found // it was made, and no more
	default:
		l.Log.Warnw("Somebody else wrote a Usage: what they counted stands", zap.Stringer("model", name))
		k.object, k.book = found, account.Open(&found.Status)
	}
}

func (l *Ledger) list(ctx context.Context) (all []v1alpha1.Usage, err error) {
	options := metav1.ListOptions{Limit: listed}
	for {
		page, err := l.Usages.Usages(metav1.NamespaceAll).List(ctx, options)
		if err != nil {
			return nil, err //nolint:wrapcheck // the caller says what was being done
		}
		all = append(all, page.Items...)
		if options.Continue = page.Continue; options.Continue == "" {
			return all, nil
		}
	}
}

// tidy deletes the Usages of Models that are gone, and weren't used for long.
func (l *Ledger) tidy(ctx context.Context) {
	l.every(ctx, tidyEvery, func() {
		for _, name := range l.stale() {
			err := l.Usages.Usages(name.Namespace).Delete(ctx, name.Name, metav1.DeleteOptions{})
			if err != nil && !apierrs.IsNotFound(err) {
				l.Log.Warnw("Usage of a Model that is gone not deleted", zap.Stringer("model", name), zap.Error(err))
				continue
			}
			l.mu.Lock()
			l.drop(name)
			l.mu.Unlock()
		}
	})
}

func (l *Ledger) stale() (stale []types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range l.names() {
		k := l.books[name]
		if _, there := l.Cluster.Model(name); there || k.object == nil || k.writing || k.sending || k.book.Changed() {
			continue
		}
		if l.Clock.Since(k.book.At()) >= keptFor {
			stale = append(stale, name)
		}
	}
	return stale
}

func byName(a, b types.NamespacedName) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
