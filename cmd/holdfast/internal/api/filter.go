package api

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"holdfast/cmd/holdfast/internal/source/ndjson"
	"holdfast/queue"
)

// decodeFilter reads a filter: {"sink","ids":[],"error_contains","died_before","all","dry_run"}. One that chooses
// nothing in particular is refused: everything is chosen by "all": true, and never by an empty list.
func decodeFilter(body []byte) (queue.DeadFilter, error) {
	var f queue.DeadFilter
	seen := map[string]bool{}
	err := ndjson.Fields(body, func(name string, value []byte) error {
		if seen[name] {
			return invalid(0, name, "it is given twice")
		}
		seen[name] = true
		return setFilter(&f, name, value)
	})
	if _, ok := errors.AsType[*Problem](err); err != nil && !ok {
		return f, invalid(0, "", "the filter is not a JSON object: %v", err)
	}
	if err == nil && f.Sink == "" && len(f.IDs) == 0 && f.ErrorContains == "" && f.DiedBefore.IsZero() && !f.All {
		return f, invalid(0, "", `the filter is empty: to choose all dead letters say {"all":true}`)
	}
	return f, err
}

func setFilter(f *queue.DeadFilter, name string, value []byte) error {
	switch name {
	case "ids":
		return setIDs(f, value)
	case "all":
		return setBool(&f.All, name, value)
	case "dry_run":
		return setBool(&f.DryRun, name, value)
	case "sink", "error_contains", "died_before":
	default:
		return invalid(0, name, "a filter has no such field")
	}
	raw, err := ndjson.Unquote(value)
	if err != nil {
		return invalid(0, name, "it %v", err)
	}
	text := string(raw)
	switch {
	case text == "":
		return invalid(0, name, "it is empty")
	case name == "sink":
		f.Sink = text
	case name == "error_contains":
		f.ErrorContains = text
	default:
		if f.DiedBefore, err = time.Parse(time.RFC3339, text); err != nil {
			return invalid(0, name, "it is not a time of RFC 3339")
		}
	}
	return nil
}

func setIDs(f *queue.DeadFilter, value []byte) error {
	err := ndjson.Elements(value, func(v []byte) error {
		field := fmt.Sprintf("ids[%d]", len(f.IDs))
		text, err := ndjson.Unquote(v)
		if err != nil {
			return invalid(0, field, "it %v", err)
		}
		id, err := uuid.ParseBytes(text)
		if err != nil || len(text) != 36 {
			return invalid(0, field, "it is no item's id")
		}
		f.IDs = append(f.IDs, id)
		return nil
	})
	switch _, ok := errors.AsType[*Problem](err); {
	case ok:
		return err
	case err != nil:
		return invalid(0, "ids", "it is not a list")
	case len(f.IDs) == 0:
		return invalid(0, "ids", "it is empty")
	}
	return nil
}

func setBool(to *bool, name string, value []byte) error {
	switch string(value) {
	case "true":
		*to = true
	case "false":
		*to = false
	default:
		return invalid(0, name, "it is neither true nor false")
	}
	return nil
}
