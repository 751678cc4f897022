// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/source"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
)

// maxTexts bounds how many errors the health text quotes.
const maxTexts = 3

// section is the part "config" of <run>/config.json.
type section struct {
	// Applied is what is in place; nil before the first.
	Applied *appliedState `json:"applied,omitempty"`
	// Pending is a version that is being put in place, or, with an error, that the machine keeps from that.
	Pending *pendingState `json:"pending,omitempty"`
	// Rejected is the newest version that was refused or taken back, until one above it is in place.
	Rejected *source.Bad `json:"rejected,omitempty"`
	// Hold keeps new versions from being taken; nil without one.
	Hold *source.Hold `json:"hold,omitempty"`
	// Accepted may be taken by somebody's leave, and was not yet.
	Accepted *bundle.Version `json:"accepted,omitempty"`
	// Stale: what is in place may be older than what genesis has, since that does not answer.
	Stale bool `json:"stale"`
	// Trial: the service has not yet been seen to live with what is in place.
	Trial   bool        `json:"trial"`
	Source  sourceState `json:"source"`
	Targets []string    `json:"targets,omitempty"`
	// Owed is what the service has yet to take up; nil when that is nothing.
	Owed *owedState `json:"owed,omitempty"`
	// Drift is what somebody changed in the targets by hand; nil before the first version is in place.
	Drift    *driftState `json:"drift,omitempty"`
	Settings string      `json:"settings_error,omitempty"`
	// Recipient is what values for this container are sealed for; without one, RecipientError says why.
	Recipient      string `json:"recipient,omitempty"`
	RecipientError string `json:"recipient_error,omitempty"`
}

type appliedState struct {
	Version  bundle.Version `json:"version"`
	Revision string         `json:"revision,omitempty"`
	At       time.Time      `json:"at"`
}

type pendingState struct {
	Version bundle.Version `json:"version"`
	Error   string         `json:"error,omitempty"`
	// Held: it waits for the end of the hold.
	Held bool `json:"held,omitempty"`
}

type sourceState struct {
	// Address is config.source; "" for identity alone.
	Address string `json:"address,omitempty"`
	// Reached: it answered last time.
	Reached bool   `json:"reached"`
	Error   string `json:"error,omitempty"`
	// Refused is why the version that it has is not taken.
	Refused string `json:"refused,omitempty"`
	// Unsigned: it is remote, and nobody but its TLS certificate vouches for what it says: no config.trusted_keys.
	Unsigned bool `json:"unsigned,omitempty"`
	// SignedBy is the id of the trusted key that signed what it said last.
	SignedBy string `json:"signed_by,omitempty"`
}

// publish writes config.json when something changed, and now and then to keep it valid.
func (h *hub) publish() {
	s := h.section()
	node := health.Node{Kind: health.KindHub, Name: "config", Children: []health.Node{h.configNode(s), h.identityNode()}}
	if s.Drift != nil {
		node.Children = append(node.Children, s.Drift.node())
	}
	for i, child := range node.Children {
		if i == 0 || child.State > node.State {
			node.State, node.Text = child.State, child.Text
		}
	}
	h.file.write(node, s)
}

func (h *hub) section() section {
	s := section{
		Rejected: h.store.LastBad(), Trial: h.store.OnTrial(), Settings: h.settings.stand,
		Source: h.sourceState(), Hold: h.store.Held(), Accepted: h.store.Allowed(), Owed: h.owed(),
	}
	if h.key != nil {
		s.Recipient = h.key.Recipient()
	} else if h.keyErr != nil {
		s.RecipientError = h.keyErr.Error()
	}
	if h.applied != nil {
		s.Applied = &appliedState{Version: h.applied.pointer.Version(), Revision: h.applied.pointer.Revision, At: h.applied.at}
		s.Targets = h.applied.targets
		s.Stale = h.src != nil && !h.heard.Reached
		s.Drift = h.drift.state()
	}
	if h.applying != nil {
		s.Pending = &pendingState{Version: h.applying.Version()}
	} else if h.pending != nil {
		s.Pending = &pendingState{Version: h.pending.Version(), Held: h.held() != nil}
		if !s.Pending.Held {
			s.Pending.Error = h.retry.why
		}
	}
	return s
}

func (h *hub) sourceState() sourceState {
	s := h.heard
	s.Address = h.conf.Source
	if h.remote {
		s.Unsigned, s.SignedBy = len(h.conf.TrustedKeys) == 0, h.signer()
	}
	return s
}

func (h *hub) configNode(s section) health.Node {
	n := health.Node{Kind: health.KindCheck, Name: "config", State: health.Pass}
	switch {
	case h.src == nil:
		n.Text = "no source: identity alone"
	case s.Applied == nil:
		n.State, n.Text = health.Starting, "waiting for the configuration: "+h.whyWaiting()
		n.Action = "see that the genesis server and the certificate authority run and are reachable from here; the service starts when they have answered"
		if h.ready {
			n.State, n.Text = health.Warn, "no configuration: this replica runs without identity"
			n.Action = "give the container a token (HUB_TOKEN), or a volume at /var/lib/hub that has a free slot"
		}
	case s.Settings != "":
		n.State, n.Text = health.Warn, "the settings are wrong, the last good ones are used: "+s.Settings
		n.Action = "correct the settings and start the container anew"
	case s.Rejected != nil:
		n.State, n.Text = health.Warn, "version "+s.Rejected.Version.String()+" was "+s.Rejected.State+": "+quote(s.Rejected.Errors)
		n.Action = "correct the configuration at the genesis: " + s.Applied.Version.String() + " stays in place until then"
	case s.Owed != nil:
		n.State, n.Text = health.Warn, s.Owed.text()
		n.Action = "see why its reload action fails; a restart of the container does it too"
	case h.retry.why != "":
		n.State, n.Text = health.Warn, "cannot be put in place, and is tried again: "+h.retry.why
		n.Action = "make what it names possible: room on the disk, a directory that can be written"
	case s.Source.Refused != "":
		n.State, n.Text = health.Warn, s.Source.Refused
		n.Action = "publish a version that holds at the genesis: what is in place stays until then"
	case s.Pending != nil && s.Pending.Held:
		n.State, n.Text = health.Warn, "version "+s.Pending.Version.String()+" waits, "+s.Applied.Version.String()+" is in place"
		n.Action = "confighub resume takes it"
	case s.Stale && h.applied.borrowed:
		n.State, n.Text = health.Warn, "the configuration is a sibling replica's: this one runs without identity"
		n.Action = "give the container a token (HUB_TOKEN), or a volume at /var/lib/hub that has a free slot"
	case s.Stale:
		n.State, n.Text = health.Warn, "stale: version "+s.Applied.Version.String()+" is in place, and the source is in trouble: "+h.whyWaiting()
		n.Action = "see that the source (config.source) answers; the service runs on with what is in place"
	case !h.keepAt.IsZero():
		n.State, n.Text = health.Warn, "version "+s.Applied.Version.String()+" is in place and cannot be kept, so that a start without the source knows nothing of it"
		n.Action = "make room in " + h.dir
	case h.applying != nil:
		n.Text = "version " + s.Pending.Version.String() + " is being put in place, " + s.Applied.Version.String() + " is the last good one"
	default:
		n.Text = "version " + s.Applied.Version.String() + " is in place"
		if s.Source.Unsigned {
			n.Text += ", unsigned"
		}
	}
	if s.Hold != nil {
		n.Text += "; " + holdText(s.Hold)
	}
	return n
}

func quote(lines []string) string {
	text := ""
	for i, line := range lines {
		if i == maxTexts {
			return text + "; …"
		}
		if i > 0 {
			text += "; "
		}
		text += line
	}
	return text
}

func (h *hub) identityNode() health.Node {
	n := health.Node{Kind: health.KindCheck, Name: "identity", State: health.Pass}
	state := h.keeper.State()
	switch state.State {
	case identity.StateOff:
		n.Text = "no identity.ca_url"
	case identity.StateNone:
		n.State, n.Text = health.Warn, "this replica runs without identity"
		n.Action = "give the container a token (HUB_TOKEN), or a volume at /var/lib/hub that has a free slot"
	case identity.StateEnrolling:
		n.State, n.Text = health.Starting, "enrolling at "+state.CAURL
		if state.Error != "" {
			n.State, n.Text = health.Warn, state.Error
		}
	case identity.StateExpired:
		n.State, n.Text = health.Fail, "expired at "+state.NotAfter.UTC().Format(time.RFC3339)+": "+state.Error
	case identity.StateValid:
		n.Text = state.ID + " until " + state.NotAfter.UTC().Format(time.RFC3339)
		if state.Error != "" {
			n.State, n.Text = health.Warn, state.Error
		}
	default:
		n.State, n.Text = health.Starting, "starting"
	}
	if n.State >= health.Warn && n.Action == "" {
		n.Action = "see that the certificate authority (identity.ca_url) runs, is reachable from here and that both clocks are right; " +
			"an identity that has expired, or a token that was used, needs a new one: confighub token"
	}
	return n
}
