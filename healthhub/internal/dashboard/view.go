// SPDX-License-Identifier: AGPL-3.0-or-later

package dashboard

import (
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"cloud4.internal/hub/healthhub/internal/mute"
	"cloud4.internal/hub/healthhub/internal/page"
	"cloud4.internal/hub/healthhub/internal/record"
	"cloud4.internal/hub/internal/health"
)

const (
	maxReasons = 1000 // that are counted
	maxCauses  = 8    // that are told at the top; all of them stand below
	maxAlso    = 6    // that are told to follow from one cause
	maxBelow   = 3    // remarks on a container's checks in its row
	maxMuted   = 50
	maxNews    = 5    // that are shown
	maxOlder   = 20   // that are folded away
	maxAllNews = 300  // with ?all=1
	maxRows    = 100  // of trouble, in a table
	maxOpen    = 40   // that are well and shown without asking
	maxFolded  = 200  // that are well and folded away
	maxAll     = 2000 // rows of a table with ?all=1
	smallFleet = 80   // containers up to which the fleet's page shows them all
)

// view is what the template shows.
type view struct {
	Nonce        string
	Style        template.CSS
	Script       template.JS
	Part         bool
	Refresh      int
	Frozen       int // seconds
	Title        string
	Icon         template.URL
	Lost         string // why there is nothing to show
	Now, At      stamp
	ValidSeconds int    // of the snapshot
	Old          string // how long past that it is; "" if it is not
	All          bool
	AllHref      string
	Root         string
	Crumbs       []crumb
	Self         item
	Head, Lead   string
	Score        score
	Counts       []count
	Wrong        string // heads the causes
	Causes       []cause
	MoreCauses   int
	Muted        []muted
	Tables       []table
	News, Older  []news
	Disturbed    int // times that something went from well to worse, in the last day
	Check        bool
}

// crumb is a step on the way from the root to here.
type crumb struct{ Kind, Name, Href string }

// stamp is a moment, or nothing.
type stamp struct{ ISO, Age, Clock string }

func (s stamp) String() string { return s.Age }

// score is the sum, and how far it could be trusted.
type score struct {
	Known     bool
	Low, High int
	Words     []string
}

// count is how many are in a state.
type count struct {
	State string
	N     int
	X, W  float64 // in a bar of 100
}

// item is a node.
type item struct {
	ID, Href, Kind, Name, State string
	Text, Action                string
	Score                       string
	Since, Seen, Valid          stamp
	Flags                       []remark
	Natures                     []string
	Strip                       *strip
	Values                      []value
	Took                        string
	Runs                        uint64
	Sum                         string // what it is made of: "12 containers: 1 fail, 11 pass"
	Seems                       string // the one of Text and Sum that says more
}

// cause is a leaf that is to blame.
type cause struct {
	item
	Path []crumb
	Also []crumb // what depends on it and is in trouble therefore
	More int     // of those, not told

	chain  []*health.Node
	counts health.State // what it does to the node of the page
}

// muted is what does not count for a time.
type muted struct {
	item
	Path  []crumb
	Mute  *mute.Mute
	Until stamp
	In    string
}

// table is a list of nodes, worst first.
type table struct {
	ID, Title string
	Head      *item // the host whose containers these are
	Rows      []item
	Folded    []item
	FoldedAll int // with those that are not listed
	Machine   int // of those, checks of the machine itself
	Left      int // trouble that is not listed
	Strips    bool
	Again     bool // there is one with the same columns above
}

// news is something that changed.
type news struct {
	At       stamp
	Path     []crumb
	From, To string
	Text     string
	Now      string // what its flags say, where only they changed
	Lasted   string
	Still    bool // nothing has changed since, and it is not well

	over bool // what it ended tells of the end
}

// usual is what happens whenever something starts, and what becomes of what is well when something ends.
func (n *news) usual() bool {
	starting, pass := health.Starting.String(), health.Pass.String()
	return n.From == "" && (n.To == starting || n.To == pass) || n.From == starting && n.To == pass ||
		n.From == pass && n.To == ""
}

// drawer knows what all parts of a page need.
type drawer struct {
	ask   request
	now   time.Time
	root  *health.Node
	diary *diary
	mutes []mute.Mute
}

func (d *Dashboard) view(s page.Snapshot, now time.Time, ask request) (v view, found bool) {
	p := drawer{ask: ask, now: now, root: s.Node}
	if d.Events != nil && d.diary == nil {
		d.diary = newDiary(d.Events(), now)
	}
	p.diary = d.diary
	if d.Mutes != nil {
		p.mutes = d.Mutes()
	}
	v = view{
		Nonce: d.hole, Style: template.CSS(styleSource), Script: template.JS(scriptSource), Part: ask.part,
		Refresh: refreshSeconds, Frozen: int(frozenAfter / time.Second), All: ask.all, Root: s.Node.Name,
		Now: p.stamp(now), At: p.stamp(s.At),
	}
	valid := frozenAfter
	if until := s.Node.ValidUntil; until.After(s.At) {
		valid = max(valid, until.Sub(s.At))
	}
	v.ValidSeconds = int(valid / time.Second)
	if now.Sub(s.At) > valid {
		v.Old = page.Age(now, s.At)
	}
	chain, err := []*health.Node{s.Node}, error(nil)
	if ask.path != "" {
		chain, err = s.Node.Find(ask.path)
	}
	if err != nil {
		v.Lost, v.Title, v.Icon = err.Error(), "nothing of that name", icon(health.Unknown)
		v.Crumbs = []crumb{{s.Node.Kind, s.Node.Name, link("")}}
		return v, false
	}
	p.fill(&v, chain)
	return v, true
}

// strange is what a check shows that its container's row shall not hide.
var strange = []string{health.FlagForced, health.FlagFlapping, health.FlagPaused}

// below tells of checks that are not what they seem.
func below(n *health.Node) (out []remark) {
	if n.Kind != health.KindContainer {
		return nil
	}
	for i := range n.Children {
		for _, name := range strange {
			if c := &n.Children[i]; c.HasFlag(name) && len(out) < maxBelow {
				out = append(out, remark{c.Name + " " + flagWords[name].Word, flagWords[name].Why})
			}
		}
	}
	return out
}

func crumbs(chain []*health.Node) (out []crumb) {
	for i, n := range chain {
		out = append(out, crumb{n.Kind, n.Name, link(health.Path(chain[:i+1]))})
	}
	return out
}

func (p *drawer) stamp(t time.Time) stamp {
	if t.IsZero() {
		return stamp{}
	}
	u := t.UTC()
	clock := u.Format("15:04 UTC")
	if p.now.Sub(t).Abs() > 20*time.Hour {
		clock = u.Format("Mon 2 Jan 15:04 UTC")
	}
	return stamp{u.Format(time.RFC3339), page.Age(p.now, t), clock}
}

func (p *drawer) fill(v *view, chain []*health.Node) {
	self := chain[len(chain)-1]
	v.Crumbs = crumbs(chain)
	v.Self = p.item(chain)
	v.Self.Flags = slices.DeleteFunc(v.Self.Flags, func(r remark) bool { return strings.HasSuffix(r.Word, " muted") }) // told apart
	v.Icon = icon(self.State)
	v.Check = leaf(self)
	v.AllHref = link(health.Path(chain))
	if !v.All {
		v.AllHref += map[bool]string{true: "?all=1", false: "&all=1"}[len(chain) == 1]
	}
	causes := blame(chain)
	v.Head, v.Title = verdict(self, causes)
	v.Lead = lead(self)
	switch v.Wrong = "What wants a look"; self.State {
	case health.Fail:
		v.Wrong = "What is wrong"
	case health.Starting:
		v.Wrong = "What is starting"
	}
	v.Score = scoreOf(self)
	v.Counts = bars(tally(self))
	if !v.Check {
		v.Causes = p.tell(causes, len(chain))
		v.MoreCauses = len(causes) - len(v.Causes)
	}
	v.Muted = p.muted(chain)
	v.Tables = p.tables(chain)
	v.News, v.Disturbed = p.news(chain)
	if !v.All && len(v.News) > maxNews+1 { // one is not worth a fold
		v.News, v.Older = v.News[:maxNews], v.News[maxNews:]
	}
}

// leaf is what is not made of parts.
func leaf(n *health.Node) bool { return n.Kind == health.KindCheck || n.Kind == health.KindHub }

func (p *drawer) item(chain []*health.Node) item {
	n, path := chain[len(chain)-1], health.Path(chain)
	it := item{
		ID: "n-" + n.Kind + "-" + path, Href: link(path), Kind: n.Kind, Name: n.Name, State: n.State.String(), Text: n.Text, Action: n.Action,
		Since: p.stamp(n.Since), Seen: p.stamp(n.ObservedAt), Valid: p.stamp(n.ValidUntil),
		Flags: append(flagsOf(n), below(n)...), Natures: naturesOf(n),
		Strip: p.diary.strip(path, n), Values: valuesOf(n), Runs: n.Runs,
	}
	if n.Took > 0 {
		it.Took = seconds(n.Took)
	}
	if n.Score != nil {
		it.Score = fmt.Sprint(*n.Score)
	}
	if !leaf(n) && len(n.Children) > 0 {
		it.Sum = sum(n)
	}
	it.Seems = it.Sum
	if it.Sum == "" || n.State != health.Pass && (n.Kind != health.KindHost || n.HasFlag(health.FlagStale)) {
		it.Seems = it.Text
	}
	return it
}

// muted lists what is muted at and below the end of chain.
func (p *drawer) muted(chain []*health.Node) (out []muted) {
	base := len(chain)
	var walk func(chain []*health.Node)
	walk = func(chain []*health.Node) {
		n := chain[len(chain)-1]
		if n.HasFlag(health.FlagMuted) {
			if len(out) < maxMuted {
				m := muted{item: p.item(chain), Path: crumbs(chain)[min(base, len(chain)-1):]}
				m.ID = "m-" + m.ID
				path := health.Path(chain)
				if i := slices.IndexFunc(p.mutes, func(m mute.Mute) bool { return m.Path == path }); i >= 0 {
					m.Mute, m.Until, m.In = &p.mutes[i], p.stamp(p.mutes[i].Until), page.Age(p.mutes[i].Until, p.now)
				}
				out = append(out, m)
			}
			return // what is below is muted with it
		}
		for i := range n.Children {
			walk(append(chain, &n.Children[i]))
		}
	}
	walk(slices.Clip(chain))
	return out
}

// news are the last changes at and below the end of chain, newest first. Where a check changed its container with it,
// the check alone is told; where trouble ended, its beginning tells of the end.
func (p *drawer) news(chain []*health.Node) (out []news, disturbed int) {
	if p.diary == nil {
		return nil, 0
	}
	limit := maxNews + maxOlder
	if p.ask.all {
		limit = maxAllNews
	}
	here := health.Path(chain)
	type later struct {
		at   time.Time
		from string // what it was until then
		row  int    // in out; -1: not told
	}
	next := map[string]later{} // path → its next change
	told := map[string]bool{}  // moment and path of all that stand above what changed with them
	moment := func(e *record.Event) string { return e.At.Format(time.RFC3339) + " " }
	for _, e := range p.diary.all {
		for i := range e.Path {
			if e.Path[i] == '/' {
				told[moment(&e)+e.Path[:i]] = true
			}
		}
	}
	for _, e := range slices.Backward(p.diary.all) {
		if e.Path != here && here != "" && !strings.HasPrefix(e.Path, here+"/") || e.Path == "" || e.Kind == record.KindMark {
			continue
		}
		after, followed := next[e.Path]
		next[e.Path] = later{e.At, name(e.From), -1}
		if told[moment(&e)+e.Path] || slices.Contains(e.Flags, health.FlagUnsupported) {
			continue
		}
		n := news{At: p.stamp(e.At), From: name(e.From), To: name(e.To), Text: e.Text}
		if !p.ask.all && n.usual() {
			continue
		}
		if n.From == n.To {
			n.Now = "no longer flagged"
			if flags := flagsOf(&health.Node{Flags: e.Flags}); len(flags) > 0 {
				n.Now = "now " + words(flags)
			}
		}
		if trouble := n.To != "" && n.To != health.Pass.String(); trouble && followed {
			n.Lasted = page.Age(after.at, e.At)
			if after.row >= 0 && out[after.row].To == health.Pass.String() && after.from == n.To {
				out[after.row].over = true // one line tells both
			}
		} else {
			n.Still = trouble
		}
		if way, err := p.root.Find(e.Path); err == nil {
			n.Path = crumbs(way)[min(len(chain), len(way)-1):]
		} else {
			n.Path = []crumb{{"", e.Path, ""}}
		}
		if n.From == health.Pass.String() && n.To != "" && n.To != n.From && p.now.Sub(e.At) < stripSpan {
			disturbed++
		}
		if len(out) < limit {
			next[e.Path] = later{e.At, n.From, len(out)}
			out = append(out, n)
		}
	}
	return slices.DeleteFunc(out, func(n news) bool { return n.over }), disturbed
}

// name is a state's; "" where there was none.
func name(s *health.State) string {
	if s == nil {
		return ""
	}
	return s.String()
}
