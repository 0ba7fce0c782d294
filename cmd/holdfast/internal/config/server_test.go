package config_test

import (
	"slices"
	"strings"
	"testing"

	"holdfast/cmd/holdfast/internal/config"
)

var (
	loopback = []string{"127.0.0.1:8080", "localhost:0", "[::1]:80", "127.9.9.9:65535", "[::ffff:127.0.0.1]:1",
		"unix:///run/holdfast.sock", "unix:///" + strings.Repeat("x", 102)}
	network = []string{":8080", "0.0.0.0:80", "[::]:80", "192.168.0.1:80", "localhost.evil.com:80", "[fe80::1%eth0]:80"}
	nowhere = []string{"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:+1",
		"127.0.0.1:080", "::1:80", "a b:80", "http://h:80", "unix://", "unix:///", "unix://run/x", "unix:/run/x", "unix:///run/../x",
		"unix:///run/x/", "UNIX:///run/x", "unix:///" + strings.Repeat("x", 103)}
)

func TestOnlyLoopbackMayListenWithoutAToken(t *testing.T) {
	t.Parallel()
	open, asking := config.Server{}, config.Server{}
	asking.Auth.Tokens = []config.Token{{Name: "gate"}}
	for _, addr := range loopback {
		if err := config.CheckListen(addr); err != nil {
			t.Errorf("%s %v", addr, err)
		}
	}
	for _, addr := range slices.Concat(network, nowhere) {
		if config.CheckListen(addr) == nil || open.MayListen(addr, false) == nil {
			t.Errorf("%q is accepted", addr)
		}
	}
	for _, addr := range slices.Concat(loopback, network) {
		if a, b := open.MayListen(addr, true), asking.MayListen(addr, false); a != nil || b != nil {
			t.Errorf("%q is refused, insecure: %v, with a token: %v", addr, a, b)
		}
	}
	for _, addr := range nowhere {
		if open.MayListen(addr, true) == nil || asking.MayListen(addr, false) == nil {
			t.Errorf("%q is accepted", addr)
		}
	}
	refused(t, "version: 1\nserver:\n  listen: :8080\n", "c.yaml:3:11: server.listen: ", "loopback")
	refused(t, "version: 1\nserver:\n  auth: {tokens: [{name: a, token: \"${CRM_TOKEN}\", scopes: [read]}]}\n  listen: :http\n",
		"c.yaml:4:11: server.listen: ", "has no port")
}

func TestAnAddressForTheNetworkIsPermittedByAFlagAndSaid(t *testing.T) {
	t.Parallel()
	env := testEnv()
	env.InsecureNoAuth = true
	cfg, err := config.Parse("c.yaml", []byte("version: 1\nserver: {listen: \"0.0.0.0:80\"}\n"), env)
	if err != nil || cfg.Server.Listen != "0.0.0.0:80" || len(cfg.Warnings) != 1 ||
		!strings.HasPrefix(cfg.Warnings[0], "c.yaml:2:18: server.listen: holdfast asks nobody for a token") {
		t.Errorf("got %+v, %v", cfg, err)
	}
	for _, listen := range []string{"127.0.0.1:80", "unix:///run/x"} {
		cfg, err = config.Parse("c.yaml", []byte("version: 1\nserver: {listen: \""+listen+"\"}\n"), env)
		if err != nil || len(cfg.Warnings) > 0 {
			t.Errorf("%s: got %+v, %v", listen, cfg, err)
		}
	}
}

func TestAnAddressIsSplitForListening(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string][2]string{
		"unix:///run/x.sock": {"unix", "/run/x.sock"}, "[::1]:80": {"tcp", "[::1]:80"}, ":80": {"tcp", ":80"},
	} {
		if network, address := config.ListenOn(addr); [2]string{network, address} != want {
			t.Errorf("%s is %s, %s", addr, network, address)
		}
	}
}

func TestATokenIsLongEnoughAndFitsAHeader(t *testing.T) {
	t.Parallel()
	for token, good := range map[string]bool{
		"0123456789abcdef": true, "AZaz09-._~+/AZaz==": true, "0123456789abcde": false, "0123456789 abcdef": false,
		"0123456789äbcdef": false, "0123456789=abcdef": false, "0123456789abcdef,": false,
	} {
		_, err := config.Parse("c.yaml", []byte("version: 1\nserver: {auth: {tokens: [{name: a, token: \""+token+"\", scopes: [read]}]}}\n"), testEnv())
		if good != (err == nil) {
			t.Errorf("%q: got %v", token, err)
		}
	}
}
