// SPDX-License-Identifier: AGPL-3.0-or-later

package mask

// A number is one of a card when a scheme has given out numbers that begin so and are as long, when its check digit is
// right, and when it stands by itself: in one piece, or in groups as cards have them, with one blank, hyphen or (in a URL)
// plus between them. Nine in ten numbers of other kinds fail at the check digit alone; times begin with 1 or 20, which no
// scheme does. The last four digits stay (PCI DSS 4.0, 3.4.1 permits them and the first six or eight).

// Lengths of card numbers in digits (ISO/IEC 7812-1).
const (
	minCard = 13
	maxCard = 19
	keeps   = 4 // digits at the end
)

// cardBegin is from how many digits on the end of a piece may be the beginning of a card number: fewer of them may be shown.
const cardBegin = 8

// scheme is a range of first six digits, with the lengths that numbers have there.
type scheme struct {
	low, high uint32
	lengths   uint32 // bit n: n digits
	weak      bool   // much else looks so: only where a name says that it is a card
}

const (
	only16 = 1 << 16
	longer = only16 | 1<<17 | 1<<18 | 1<<19
)

// schemes are those of https://en.wikipedia.org/wiki/Payment_card_number, section "Issuer identification number".
var schemes = []scheme{
	{400000, 499999, only16, false},                                       // Visa
	{400000, 499999, 1<<13 | 1<<19, true},                                 // no more, and hardly yet; phones in Europe look so
	{510000, 559999, only16, false},                                       // Mastercard
	{222100, 272099, only16, false},                                       //
	{340000, 349999, 1 << 15, false},                                      // American Express
	{370000, 379999, 1 << 15, false},                                      //
	{300000, 305999, 1<<14 | only16, false},                               // Diners Club
	{309500, 309599, 1<<14 | only16, false},                               //
	{360000, 369999, 1<<14 | only16, false},                               //
	{380000, 399999, 1<<14 | only16, false},                               //
	{352800, 358999, only16, false},                                       // JCB
	{300000, 399999, 1<<15 | 1<<17 | 1<<18 | 1<<19, true},                 // Diners Club and JCB permit them
	{601100, 601199, only16, false},                                       // Discover
	{644000, 659999, only16, false},                                       // and RuPay, Elo, Troy
	{600000, 659999, 1<<13 | 1<<14 | 1<<15 | 1<<17 | 1<<18 | 1<<19, true}, //
	{620000, 629999, longer, false},                                       // UnionPay
	{500000, 509999, 1<<13 | 1<<14 | 1<<15 | longer, true},                // Maestro
	{560000, 589999, 1<<13 | 1<<14 | 1<<15 | longer, true},                //
	{501800, 502099, longer, false},                                       //
	{503800, 503899, longer, false},                                       //
	{589300, 589399, longer, false},                                       //
	{630400, 630499, longer, false},                                       //
	{670000, 679999, longer, false},                                       //
	{506099, 506799, longer, false},                                       // Elo, Verve
	{507865, 508999, only16, false},                                       // Verve, RuPay
	{606282, 606282, only16, false},                                       // Hipercard
	{604001, 604200, only16, false},                                       // UkrCard
	{636000, 639999, only16, false},                                       // InterPayment, InstaPayment
	{817200, 820199, only16, false},                                       // RuPay
	{220000, 220499, longer, false},                                       // Mir
	{979200, 979299, only16, false},                                       // Troy
}

// layouts are the groups that cards have, in digits.
var layouts = [][]int{{4, 4, 4, 4}, {4, 6, 5}, {4, 6, 4}, {4, 4, 4, 4, 3}, {6, 13}, {4, 3, 3, 3}, {4, 4, 4, 3}, {4, 4, 4, 2}}

// maxGroups is of how many groups a layout is at most.
const maxGroups = 5

// group is a run of digits.
type group struct{ from, to int }

// cards appends the spans of card numbers, but for their last digits. Bytes that cannot be within one are passed over, a
// dozen at a time.
func cards(line []byte, spans []span) []span {
	for i, done := minCard-1, 0; i < len(line); {
		if classes[line[i]]&inCard == 0 {
			i += minCard
			continue
		}
		from, to := i, i+1
		for from > done && classes[line[from-1]]&inCard != 0 {
			from--
		}
		for to < len(line) && classes[line[to]]&inCard != 0 {
			to++
		}
		if to-from >= minCard {
			spans = cardsIn(line, from, to, spans)
		}
		done, i = to, to+minCard
	}
	return spans
}

// cardsIn looks at the groups of digits in line[from:to].
func cardsIn(line []byte, from, to int, spans []span) []span {
	var last [maxGroups]group
	n := 0
	for at := from; at < to; at++ {
		if !isDigit(line[at]) {
			continue
		}
		g := group{from: at}
		for at < to && isDigit(line[at]) {
			at++
		}
		g.to = at
		if n == maxGroups {
			copy(last[:], last[1:])
			n--
		}
		last[n] = g
		n++
		spans = cardAt(line, last[:n], spans)
	}
	return spans
}

// cardAt appends the span of the card number that the last of the groups ends, if there is one.
func cardAt(line []byte, groups []group, spans []span) []span {
	end := groups[len(groups)-1]
	if n := end.to - end.from; n >= minCard && n <= maxCard && isCard(line, groups[len(groups)-1:]) {
		return append(spans, hiddenPart(line, end.from, end.to))
	}
	for _, layout := range layouts {
		if len(layout) > len(groups) || end.to-end.from != layout[len(layout)-1] {
			continue
		}
		own := groups[len(groups)-len(layout):]
		if laid(line, own, layout) && isCard(line, own) && alone(line, own) {
			return append(spans, hiddenPart(line, own[0].from, end.to))
		}
	}
	return spans
}

// hiddenPart is a number without its last digits.
func hiddenPart(line []byte, from, to int) span {
	for kept := 0; kept < keeps; {
		if to--; isDigit(line[to]) {
			kept++
		}
	}
	return span{from, to, labelCard}
}

// laid says whether the groups are as long as a layout has them, with the same byte between any two.
func laid(line []byte, groups []group, layout []int) bool {
	for i, g := range groups {
		if g.to-g.from != layout[i] ||
			i > 0 && (g.from != groups[i-1].to+1 || line[g.from-1] != line[groups[0].to]) {
			return false
		}
	}
	return true
}

// isCard judges the digits of the groups, and what stands beside them.
func isCard(line []byte, groups []group) bool {
	from, to := groups[0].from, groups[len(groups)-1].to
	var digits [maxCard]byte
	n := 0
	for _, g := range groups {
		n += copy(digits[n:], line[g.from:g.to])
	}
	ok, weak := issued(digits[:n])
	return ok && luhn(digits[:n]) && !partOfMore(line, from, to) && (!weak || saysCard(line[:from]))
}

// issued says whether a scheme gives out numbers like it. weak: only such that much else looks like.
func issued(digits []byte) (ok, weak bool) {
	if c := digits[0]; c < '2' || c == '7' {
		return false, false
	}
	first := uint32(0)
	for _, c := range digits[:6] {
		first = 10*first + uint32(c-'0')
	}
	for _, s := range schemes {
		if s.low <= first && first <= s.high && s.lengths>>len(digits)&1 != 0 {
			if ok, weak = true, s.weak; !weak {
				break
			}
		}
	}
	return ok, weak
}

// luhn checks the last digit (ISO/IEC 7812-1, annex B).
func luhn(digits []byte) bool {
	sum := 0
	for i, c := range digits {
		d := int(c - '0')
		if (len(digits)-i)%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

// partOfMore says whether line[from:to] is part of a word, of a fraction or of a phone number.
func partOfMore(line []byte, from, to int) bool {
	if from > 0 {
		before := line[from-1]
		track := before == 'B' && from > 1 && line[from-2] == '%' && to < len(line) && line[to] == '^' // ISO/IEC 7813, track 1
		switch {
		case classes[before]&letter != 0 && !track:
			return true
		case before == '.' && from > 1 && isDigit(line[from-2]):
			return true
		case before == '+' && (from == 1 || !isDigit(line[from-2])) && to-from < 16:
			return true
		}
	}
	return to < len(line) && (classes[line[to]]&letter != 0 || line[to] == '.' && to+1 < len(line) && isDigit(line[to+1]))
}

// maxFours is how many groups of four digits may stand beside those of a number: an expiry date may, a table of numbers not.
const maxFours = 2

// alone says whether groups are not part of a longer row of them, such as a UUID, an IBAN or a dump.
func alone(line []byte, groups []group) bool {
	from, to := groups[0].from, groups[len(groups)-1].to
	between := line[groups[0].to]
	before, fours := line[:from], 0
	for n := len(before); n > 4 && before[n-1] == between && isDigit(before[n-2]); n = len(before) {
		if iban := before[:n-1]; between == '-' || len(iban) > 3 && isDigit(iban[n-3]) &&
			classes[iban[n-4]]&letter != 0 && classes[iban[n-5]]&letter != 0 {
			return false
		}
		if before = before[:n-5]; !fourDigits(line[len(before) : n-1]) {
			break
		}
		fours++
	}
	after := line[to:]
	for len(after) > 1 && after[0] == between && isDigit(after[1]) {
		if between == '-' {
			return false
		}
		if len(after) < 5 || !fourDigits(after[1:5]) || len(after) > 5 && isDigit(after[5]) {
			break
		}
		after = after[5:]
		fours++
	}
	return fours <= maxFours
}

func fourDigits(b []byte) bool {
	for _, c := range b {
		if !isDigit(c) {
			return false
		}
	}
	return len(b) == 4
}

// nameReach is how far before a number its name may stand.
const nameReach = 24

// saysCard says whether what stands before a number calls it one of a card.
func saysCard(before []byte) bool {
	before = before[max(0, len(before)-nameReach):]
	for i := range before {
		for _, word := range [...]string{"card", "pan", "visa", "maestro"} {
			if hasFold(before[i:], word) && (i == 0 || word != "pan" || classes[before[i-1]]&letter == 0) {
				return true
			}
		}
	}
	return false
}

// hasFold says whether b begins with a word of small letters, in whatever case.
func hasFold(b []byte, word string) bool {
	if len(b) < len(word) {
		return false
	}
	for i := range len(word) {
		if b[i]|0x20 != word[i] {
			return false
		}
	}
	return true
}

// cardBegins finds what may be the beginning of a card number at the end of text.
func cardBegins(text []byte) (at int, ok bool) {
	var digits [maxCard]byte // the last ones
	n := 0
	for at = len(text); at > 0 && n < maxCard; at-- {
		c := text[at-1]
		if isDigit(c) {
			n++
			digits[maxCard-n] = c
			continue
		}
		if classes[c]&inCard == 0 || at == len(text) && len(text) > 1 && !isDigit(text[at-2]) || at < len(text) && !isDigit(text[at]) {
			break
		}
	}
	for ; n >= cardBegin; n-- { // what is before it may be another number
		for at < len(text) && !isDigit(text[at]) {
			at++
		}
		if (at == 0 || !isDigit(text[at-1])) && mayBeIssued(digits[maxCard-n:]) {
			return at, true
		}
		at++
	}
	return 0, false
}

// mayBeIssued says whether a number of some scheme begins so.
func mayBeIssued(digits []byte) bool {
	first := uint32(0)
	for _, c := range digits[:6] {
		first = 10*first + uint32(c-'0')
	}
	for _, s := range schemes {
		if s.low <= first && first <= s.high && !s.weak {
			return true
		}
	}
	return false
}
