package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"holdfast/sinks"
)

// sign sets the headers that name the message and prove who sent it, over exactly these bytes. The names without
// configuration are those of the Standard Webhooks specification.
func (s Signing) sign(h http.Header, id string, now time.Time, body []byte) {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	h.Set("webhook-id", id)
	h.Set("webhook-timestamp", timestamp)
	signatures := ""
	for _, secret := range s.StandardWebhooks {
		key, _ := standardKey(secret) // checked when the sink was made
		sum := mac(key, []byte(id+"."+timestamp+"."), body)
		if signatures != "" {
			signatures += " "
		}
		signatures += "v1," + base64.StdEncoding.EncodeToString(sum)
	}
	if signatures != "" {
		h.Set("webhook-signature", signatures)
	}
	if s.GitHub != "" {
		h.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac([]byte(s.GitHub), body)))
	}
	if c := s.Custom; c.Header != "" {
		h.Set(c.Header, c.Prefix+c.encode(mac([]byte(c.Secret), body)))
	}
}

func (c Custom) encode(sum []byte) string {
	if c.Encoding == "base64" {
		return base64.StdEncoding.EncodeToString(sum)
	}
	return hex.EncodeToString(sum)
}

func mac(key []byte, parts ...[]byte) []byte {
	m := hmac.New(sha256.New, key)
	for _, p := range parts {
		m.Write(p)
	}
	return m.Sum(nil)
}

// messageID returns what webhook-id says: the item's id, or for a batch the first id and a hash of all, so that another
// batch that starts with the same item is another message.
func messageID(items []sinks.Item) string {
	first := items[0].ID.String()
	if len(items) == 1 {
		return first
	}
	sum := sha256.New()
	for i := range items {
		sum.Write(items[i].ID[:])
	}
	return first + "_" + hex.EncodeToString(sum.Sum(nil)[:8])
}
