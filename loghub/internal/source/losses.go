// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"encoding/json"
	"slices"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/spool"
)

const (
	lossesKey = "files" // in the spool
	maxOwed   = 200     // losses that wait one by one; of more files those of a set are one
)

// owed is what a file lost and no record tells of yet. It is told under the uid of the place where that stood.
type owed struct {
	UID  string     `json:"uid"` // without the place
	At   uint64     `json:"at"`
	Path string     `json:"path"`
	Set  string     `json:"set"`
	Loss event.Loss `json:"loss"`
}

// losses are told at once if there is room for a record. Else they stand in the state of a source of their own, for which
// there always is, and survive a restart there.
type losses struct {
	sh    *Shared
	src   *spool.Source
	batch *spool.Batch
	seq   uint64
	list  []owed
	kept  bool // something stands in the state
}

// restore takes over what an earlier life owed.
func (l *losses) restore() {
	st, ok := l.sh.Spool.Restored()[lossesKey]
	if !ok {
		return
	}
	if json.Unmarshal([]byte(st.Aux), &l.list) != nil {
		l.list = nil
	}
	l.seq, l.kept = st.Seq, true
	l.save()
}

// add owes a loss. other is told in its stead where too many are owed.
func (l *losses) add(o, other owed) {
	same := func(have owed) bool { return have.Path == o.Path }
	if len(l.list) >= maxOwed && !slices.ContainsFunc(l.list, same) {
		other.Loss = o.Loss
		o = other
	}
	if i := slices.IndexFunc(l.list, same); i >= 0 {
		l.list[i].Loss.Merge(o.Loss)
	} else {
		l.list = append(l.list, o)
	}
	if !l.tell() {
		l.save()
	}
}

// tell makes records of what is owed, and says whether there was room.
func (l *losses) tell() bool {
	if len(l.list) == 0 {
		return true
	}
	if l.src == nil && !l.save() {
		return false
	}
	seq := l.seq
	for _, o := range l.list {
		b := event.New(event.Options{UID: o.UID, Attrs: []otlp.KeyValue{
			{Key: event.AttrPath, Value: otlp.String(o.Path)}, {Key: event.AttrFiles, Value: otlp.String(o.Set)},
		}})
		seq++
		l.batch.Record(0, seq, b.Loss(&o.Loss, o.Path, o.At))
	}
	if err := l.sh.Spool.Commit(l.batch); err != nil {
		l.batch.Reset()
		return false
	}
	l.seq, l.list = seq, nil
	if l.kept {
		l.save()
	}
	return true
}

// save writes the state.
func (l *losses) save() (ok bool) {
	st := spool.State{Seq: l.seq}
	if len(l.list) > 0 {
		text, err := json.Marshal(l.list)
		if err != nil {
			l.sh.Log.Warn().Err(err).Msg("keeping what log files lost")
			return false
		}
		st.Aux = string(text)
	}
	var err error
	if l.src != nil {
		err = l.sh.Spool.Update(l.src, st)
	} else if l.src, err = l.sh.Spool.Register(lossesKey, st); err == nil {
		l.batch = spool.NewBatch(l.src)
	}
	if err != nil {
		l.sh.Log.Warn().Err(err).Msg("keeping what log files lost")
		return false
	}
	l.kept = len(l.list) > 0
	return true
}

// owed is a loss of the file at a place.
func (a fileAux) owed(path string, at uint64, loss event.Loss) owed {
	return owed{UID: a.ID + "." + a.Generation + "@", At: at, Path: path, Set: a.Set, Loss: loss}
}

// owe owes a loss of a file, or where too many are owed of all those of its set.
func (f *Files) owe(o owed) {
	if f.sh.Spool != nil {
		f.losses.add(o, owed{UID: newEpoch("files") + "@", Path: f.pattern(o.Set), Set: o.Set})
	}
}

// losing owes what stands between the place and size now, when it is called.
func (t *tail) losing(size int64) func() {
	loss := t.unread(size, time.Now())
	mine := t.aux.owed(t.path, uint64(t.offset), loss)
	return func() {
		if loss.None() {
			return
		}
		t.n.lost.Add(loss.Count)
		t.n.lostBytes.Add(loss.Bytes)
		t.files.owe(mine)
	}
}

// pattern is what the files of a set are named by.
func (f *Files) pattern(set string) string {
	for _, s := range f.sets {
		if s.Name == set {
			return s.Pattern
		}
	}
	return set
}
