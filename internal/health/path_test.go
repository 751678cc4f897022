// SPDX-License-Identifier: AGPL-3.0-or-later

package health

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	node := func(kind, name string, children ...Node) Node {
		return Node{Kind: kind, Name: name, Children: children}
	}
	web := node(KindContainer, "web.shop.vm1", node(KindCheck, "page"), node(KindCheck, "hub/log"), node(KindCheck, "2"))
	web2 := node(KindContainer, "web.shop.vm1/2", node(KindCheck, "page"), node(KindCheck, "hub/log"))
	host := node(KindHost, "vm1", node(KindCheck, "disk"), node(KindCheck, "hub"), node(KindCheck, "hub/log"),
		web, web2, node(KindGroup, "disk"), node(KindGroup, "web"))
	vm2 := node(KindHost, "vm2", node(KindContainer, "web.shop.vm2", node(KindCheck, "page")), node(KindGroup, "web"))
	fleet := node(KindFleet, "fleet", host, vm2, node(KindGroup, "everywhere"))
	for _, test := range []struct {
		root *Node
		path string
		want string // kinds and names below the root; or a part of the error
	}{
		{&web, "page", "check page"},
		{&web, "hub/log", "check hub/log"},
		{&web, "hub", "nothing of that name"},
		{&web, "", "must have 1"},
		{&web, "page/", "nothing of that name"},
		{&web, "/page", "nothing of that name"},
		{&web, "web.shop.vm1", "nothing of that name"},
		{&web, "pag", "nothing of that name"},
		{&host, "web.shop.vm1", "container web.shop.vm1"},
		{&host, "web.shop.vm1/page", "container web.shop.vm1, check page"},
		{&host, "web.shop.vm1/2/hub/log", "container web.shop.vm1/2, check hub/log"},
		{&host, "web.shop.vm1/2/page", "container web.shop.vm1/2, check page"},
		{&host, "web.shop.vm1/2", "container web.shop.vm1/2"}, // not the check 2 of the other
		{&host, "web.shop.vm1/hub/log", "container web.shop.vm1, check hub/log"},
		{&host, "web.shop.vm1/3", "nothing of that name"},
		{&host, "web", "group web"},
		{&host, "disk", "names 2 things, among them check disk and group disk"},
		{&host, "hub/log", "check hub/log"},
		{&fleet, "vm1/web.shop.vm1/page", "host vm1, container web.shop.vm1, check page"},
		{&fleet, "web.shop.vm1/2/page", "host vm1, container web.shop.vm1/2, check page"},
		{&fleet, "web.shop.vm2/page", "host vm2, container web.shop.vm2, check page"},
		{&fleet, "vm2", "host vm2"},
		{&fleet, "everywhere", "group everywhere"},
		{&fleet, "web", "names 2 things, among them group vm1/web and group vm2/web"},
		{&fleet, "vm2/web", "host vm2, group web"},
		{&fleet, "vm3/web", "nothing of that name"},
		{&fleet, strings.Repeat("a", MaxPath+1), "must have 1"},
	} {
		t.Run(test.root.Name+" "+test.path, func(t *testing.T) {
			chain, err := test.root.Find(test.path)
			if err != nil {
				if !strings.Contains(err.Error(), test.want) || errors.Is(err, ErrNotFound) == strings.Contains(test.want, "names 2") {
					t.Errorf("error %v, want %s", err, test.want)
				}
				return
			}
			var got []string
			for _, n := range chain[1:] {
				got = append(got, n.Kind+" "+n.Name)
			}
			if strings.Join(got, ", ") != test.want || chain[0] != test.root {
				t.Errorf("found %q below %s, want %s", got, chain[0].Name, test.want)
			}
			if again, err := test.root.Find(Path(chain)); err != nil || again[len(again)-1] != chain[len(chain)-1] {
				t.Errorf("its path %s leads to %v, %v", Path(chain), again, err)
			}
		})
	}
}

// Nodes that were found are the tree's own: a mute sets its flag there.
func TestFindReturnsTheTree(t *testing.T) {
	root := Node{Kind: KindContainer, Name: "c", Children: []Node{{Kind: KindCheck, Name: "a"}}}
	chain, err := root.Find("a")
	if err != nil {
		t.Fatal(err)
	}
	chain[1].State = Fail
	if root.Children[0].State != Fail {
		t.Error("found a copy")
	}
}

// A deep tree of names that are each other's beginnings is searched without going through every way of cutting the path.
func BenchmarkFindNested(b *testing.B) {
	root := Node{Kind: KindFleet, Name: "fleet"}
	for h := range 100 {
		host := Node{Kind: KindHost, Name: fmt.Sprint("vm", h)}
		for c := range 100 {
			host.Children = append(host.Children, Node{Kind: KindContainer, Name: fmt.Sprintf("web.s%d.vm%d", c, h),
				Children: []Node{{Kind: KindCheck, Name: "page"}}})
		}
		root.Children = append(root.Children, host)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := root.Find("web.s99.vm99/page"); err != nil {
			b.Fatal(err)
		}
	}
}
