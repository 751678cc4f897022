// SPDX-License-Identifier: AGPL-3.0-or-later

package otlp

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Limits bound what DecodeRequest accepts; a zero field means its default.
type Limits struct {
	Records    int // records in a request, default 65,536
	Attributes int // attributes of one record or resource, default 1,024
	Depth      int // lists and maps within one another, default 32
	Values     int // values in one record, all depths together, default 65,536
}

// Defaults of Limits, and the refusals that go with them.
const (
	defaultRecords    = 65536
	defaultAttributes = 1024
	defaultDepth      = 32
	defaultValues     = 65536
)

// ErrMalformed is wrapped by every refusal of DecodeRequest that is about the
// bytes; ErrLimit by those about a bound.
var (
	ErrMalformed = errors.New("malformed protobuf")
	ErrLimit     = errors.New("too large")
)

// Source is where a record came from: the attributes of its resource and the
// scope. They stay valid until the next one of the same request.
type Source struct {
	Resource []KeyValue
	Scope    Scope
}

// DecodeRequest calls each for every record of an ExportLogsServiceRequest, in
// the order of the wire, and stops at the first error. The record is reused
// and refers to data: who keeps it copies it. Unknown fields are read over.
func DecodeRequest(data []byte, lim Limits, each func(*Source, *Record) error) error {
	d := decoder{lim: lim.withDefaults(), each: each}
	if err := messages(data, 1, d.resourceLogs); err != nil {
		return fmt.Errorf("decoding request: %w", err)
	}
	return nil
}

// DecodeRecord reads one record field as AppendRecord wrote it.
func DecodeRecord(data []byte, rec *Record) error {
	d := decoder{lim: Limits{}.withDefaults()}
	found := false
	err := fields(data, func(f field) error {
		if f.num != 2 || found {
			return fmt.Errorf("%w: want one record", ErrMalformed)
		}
		found = true
		b, err := f.bytes()
		if err != nil {
			return err
		}
		return d.record(b, rec)
	})
	if err == nil && !found {
		err = fmt.Errorf("%w: no record", ErrMalformed)
	}
	if err != nil {
		return fmt.Errorf("decoding record: %w", err)
	}
	return nil
}

func (l Limits) withDefaults() Limits {
	or := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	or(&l.Records, defaultRecords)
	or(&l.Attributes, defaultAttributes)
	or(&l.Depth, defaultDepth)
	or(&l.Values, defaultValues)
	return l
}

type decoder struct {
	lim     Limits
	each    func(*Source, *Record) error
	src     Source
	rec     Record
	records int
	values  int // in the current record or resource
}

// resourceLogs reads the message twice: protobuf allows the resource to stand
// behind the records that belong to it.
func (d *decoder) resourceLogs(data []byte) error {
	d.src.Resource = d.src.Resource[:0]
	d.values = 0
	err := messages(data, 1, func(b []byte) error {
		return messages(b, 1, func(b []byte) error { return d.attribute(b, &d.src.Resource) })
	})
	if err != nil {
		return fmt.Errorf("resource: %w", err)
	}
	return messages(data, 2, d.scopeLogs)
}

func (d *decoder) scopeLogs(data []byte) error {
	d.src.Scope = Scope{}
	if err := messages(data, 1, d.scope); err != nil {
		return fmt.Errorf("scope: %w", err)
	}
	return messages(data, 2, func(b []byte) error {
		if d.records++; d.records > d.lim.Records {
			return fmt.Errorf("%w: more than %d records", ErrLimit, d.lim.Records)
		}
		if err := d.record(b, &d.rec); err != nil {
			return fmt.Errorf("record %d: %w", d.records, err)
		}
		return d.each(&d.src, &d.rec)
	})
}

func (d *decoder) scope(data []byte) error {
	return fields(data, func(f field) error {
		var err error
		switch f.num {
		case 1:
			err = f.str(&d.src.Scope.Name)
		case 2:
			err = f.str(&d.src.Scope.Version)
		}
		return err
	})
}

func (d *decoder) record(data []byte, r *Record) error {
	*r = Record{Attributes: r.Attributes[:0]}
	d.values = 0
	return fields(data, func(f field) error {
		switch f.num {
		case 1:
			return f.fixed64(&r.Time)
		case 2:
			n, err := f.varint()
			if n > 24 {
				n = 0 // not a SeverityNumber: unspecified
			}
			r.Severity = uint8(n)
			return err
		case 3:
			return f.str(&r.SeverityText)
		case 5:
			b, err := f.bytes()
			if err != nil {
				return err
			}
			r.Body, err = d.value(b, 0)
			return err
		case 6:
			b, err := f.bytes()
			if err != nil {
				return err
			}
			return d.attribute(b, &r.Attributes)
		case 7:
			n, err := f.varint()
			r.Dropped = uint32(n)
			return err
		case 8:
			return f.fixed32(&r.Flags)
		case 9:
			return f.id(&r.TraceID, 16)
		case 10:
			return f.id(&r.SpanID, 8)
		case 11:
			return f.fixed64(&r.Observed)
		case 12:
			return f.str(&r.EventName)
		}
		return nil
	})
}

func (d *decoder) attribute(data []byte, into *[]KeyValue) error {
	if len(*into) >= d.lim.Attributes {
		return fmt.Errorf("%w: more than %d attributes", ErrLimit, d.lim.Attributes)
	}
	kv, err := d.keyValue(data, 0)
	if err != nil {
		return err
	}
	*into = append(*into, kv)
	return nil
}

func (d *decoder) keyValue(data []byte, depth int) (KeyValue, error) {
	var kv KeyValue
	err := fields(data, func(f field) error {
		switch f.num {
		case 1:
			return f.str(&kv.Key)
		case 2:
			b, err := f.bytes()
			if err != nil {
				return err
			}
			kv.Value, err = d.value(b, depth)
			return err
		}
		return nil
	})
	return kv, err
}

func (d *decoder) value(data []byte, depth int) (Value, error) {
	var v Value
	if d.values++; d.values > d.lim.Values {
		return v, fmt.Errorf("%w: more than %d values in one record", ErrLimit, d.lim.Values)
	}
	if depth > d.lim.Depth {
		return v, fmt.Errorf("%w: values nest deeper than %d", ErrLimit, d.lim.Depth)
	}
	err := fields(data, func(f field) error {
		var err error
		switch f.num { // a oneof: the last field of the wire wins
		case 1:
			v = Value{Kind: KindString}
			v.Bytes, err = f.utf8()
		case 2:
			v = Value{Kind: KindBool}
			v.Num, err = f.varint()
			if v.Num > 1 {
				v.Num = 1
			}
		case 3:
			v = Value{Kind: KindInt}
			v.Num, err = f.varint()
		case 4:
			v = Value{Kind: KindDouble}
			err = f.fixed64(&v.Num)
		case 5:
			v, err = d.list(f, depth)
		case 6:
			v, err = d.mapping(f, depth)
		case 7:
			v = Value{Kind: KindBytes}
			v.Bytes, err = f.bytes()
		}
		return err
	})
	return v, err
}

func (d *decoder) list(f field, depth int) (Value, error) {
	v := Value{Kind: KindArray}
	b, err := f.bytes()
	if err != nil {
		return v, err
	}
	err = messages(b, 1, func(b []byte) error {
		e, err := d.value(b, depth+1)
		v.Array = append(v.Array, e)
		return err
	})
	return v, err
}

func (d *decoder) mapping(f field, depth int) (Value, error) {
	v := Value{Kind: KindMap}
	b, err := f.bytes()
	if err != nil {
		return v, err
	}
	err = messages(b, 1, func(b []byte) error {
		kv, err := d.keyValue(b, depth+1)
		v.Map = append(v.Map, kv)
		return err
	})
	return v, err
}

// uvarint is binary.Uvarint with protobuf's reading of an over-long number as
// an error.
func uvarint(b []byte) (uint64, int, error) {
	x, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, 0, fmt.Errorf("%w: bad varint", ErrMalformed)
	}
	return x, n, nil
}
