// Does what programs do with nats.go, and prints what comes of it: go_client HOST PORT STEP...
//
// The steps have the same names and mean the same in all clients of this folder. Each line of output begins with the name of
// its step, and has no port, time or random word in it. Certificates are judged by the file NATS_CA.
package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// So many bytes of payload the servers take.
const limit = 1024 * 1024
const wait = 20 * time.Second

// How long an answer is waited for that must not come.
const silence = 500 * time.Millisecond

var host, port, step string

func say(format string, arguments ...any) {
	text := fmt.Sprintf(format, arguments...)
	fmt.Println(strings.ReplaceAll(step+": "+text, port, "PORT"))
}

func must(err error) {
	if err != nil {
		say("FAILED %v", err)
		panic(err)
	}
}

func fails(what string, err error) {
	if err == nil {
		err = errors.New("no error")
	}
	say("%s: %v", what, err)
}

// A client, and what it says by itself, in order.
type client struct {
	*nats.Conn
	words chan string
}

func dial(options ...nats.Option) (client, error) {
	words := make(chan string, 1000)
	word := func(text string) nats.ConnHandler {
		return func(*nats.Conn) { words <- text }
	}
	all := []nats.Option{
		nats.NoReconnect(),
		nats.Timeout(wait),
		nats.DisconnectErrHandler(func(*nats.Conn, error) { words <- "disconnected" }),
		nats.ReconnectHandler(word("reconnected")),
		nats.ClosedHandler(word("closed")),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { words <- "error " + err.Error() }),
	}
	connection, err := nats.Connect("nats://"+host+":"+port, append(all, options...)...)
	return client{connection, words}, err
}

func connect(options ...nats.Option) client {
	connected, err := dial(options...)
	must(err)
	return connected
}

func (c client) next() string {
	select {
	case word := <-c.words:
		return word
	case <-time.After(wait):
		return "nothing in time"
	}
}

// Waits until all is done that the server has got of the client, and all is here that it has sent before.
func (c client) barrier() { must(c.FlushTimeout(wait)) }

func (c client) subscribe(subject string, group string) *nats.Subscription {
	sub, err := c.QueueSubscribeSync(subject, group)
	must(err)
	return sub
}

func (c client) publish(subject string, payload string) { must(c.Publish(subject, []byte(payload))) }

func next(sub *nats.Subscription) *nats.Msg {
	message, err := sub.NextMsg(wait)
	must(err)
	return message
}

// The payloads of the messages that are here.
func waiting(sub *nats.Subscription) []string {
	payloads := []string{}
	for {
		count, _, err := sub.Pending()
		if err != nil || count == 0 {
			return payloads
		}
		payloads = append(payloads, string(next(sub).Data))
	}
}

func (c client) delivers() {
	sub := c.subscribe("it.works", "")
	c.publish("it.works", "indeed")
	message := next(sub)
	say("%s %s", message.Subject, message.Data)
}

func message(subject string, payload string, headers ...string) *nats.Msg {
	message := nats.NewMsg(subject)
	message.Data = []byte(payload)
	for index := 0; index < len(headers); index += 2 {
		message.Header.Add(headers[index], headers[index+1])
	}
	return message
}

func (c client) publishMessage(message *nats.Msg) { must(c.PublishMsg(message)) }

var steps = map[string]func(){
	"connect": func() {
		c := connect()
		say("max_payload %d", c.MaxPayload())
		c.delivers()
		id, err := c.GetClientID()
		say("number %v %v", id > 0, err)
		address, err := c.GetClientIP()
		say("address %v %v", address, err)
		c.Close()
		for word := ""; word != "closed"; say("%s", word) {
			word = c.next()
		}
	},

	"login": func() {
		c := connect(nats.UserInfo("rw", "rwpw"))
		c.delivers()
		c.Close()
	},

	"wrong_login": func() {
		refused := func(what string, option nats.Option) {
			_, err := dial(option)
			fails(what, err)
		}
		refused("wrong password", nats.UserInfo("rw", "wrong"))
		refused("no such user", nats.UserInfo("nobody", "rwpw"))
		refused("no password", nats.UserInfo("rw", ""))
		refused("token", nats.Token("word"))
	},

	"login_required": func() {
		_, err := dial()
		fails("no login", err)
		c := connect(nats.UserInfo("rw", "rwpw"))
		c.delivers()
		c.Close()
	},

	"wildcards": func() {
		c := connect()
		patterns := []string{"w.*", "w.>", "w.*.c", "*.b", "w.b", ">"}
		subs := []*nats.Subscription{}
		for _, pattern := range patterns {
			subs = append(subs, c.subscribe(pattern, ""))
		}
		for _, subject := range []string{"w", "w.a", "w.b", "w.b.c", "w.x.y.c", "other.b", "w.é", "W.b", "w.b"} {
			c.publish(subject, subject)
		}
		c.barrier()
		for index, pattern := range patterns {
			say("%s gets %v", pattern, waiting(subs[index]))
		}
		c.Close()
	},

	"groups": groups,

	"publish": func() {
		c := connect()
		sub := c.subscribe("p.>", "")
		bytes256 := make([]byte, 256)
		for index := range bytes256 {
			bytes256[index] = byte(index)
		}
		payloads := []string{"", "21.5", string(bytes256), "\r\nPUB p.x 0\r\n\r\n", strings.Repeat("x", 100_000)}
		for number, payload := range payloads {
			c.publish(fmt.Sprintf("p.%d", number), payload)
		}
		must(c.PublishRequest("p.reply", "some.where", []byte("with reply")))
		for _, payload := range payloads {
			message := next(sub)
			say("%s %d as sent %v", message.Subject, len(message.Data), string(message.Data) == payload)
		}
		message := next(sub)
		say("%s %s %s", message.Subject, message.Data, message.Reply)
		c.Close()
	},

	"headers": func() {
		c := connect()
		sub := c.subscribe("h", "")
		c.publishMessage(message("h", "one", "A", "1"))
		c.publishMessage(message("h", "", "A", "1", "Long-Name", "with blanks: é", "A", "2"))
		three := message("h", "three", "A", "1")
		three.Reply = "back"
		c.publishMessage(three)
		c.publish("h", "none")
		for count := 0; count < 4; count++ {
			// fmt sorts the keys.
			message := next(sub)
			say("%s %q %s", message.Data, map[string][]string(message.Header), message.Reply)
		}
		c.Close()
	},

	"request":          request,
	"nobody":           nobody,
	"auto_unsubscribe": autoUnsubscribe,

	"no_echo": func() {
		c, other := connect(nats.NoEcho()), connect()
		own := []*nats.Subscription{c.subscribe("e", ""), c.subscribe("e", "q")}
		others := []*nats.Subscription{other.subscribe("e", ""), other.subscribe("e", "r")}
		c.barrier()
		other.barrier()
		c.publish("e", "mine")
		c.barrier()
		other.barrier()
		other.publish("e", "theirs")
		other.barrier()
		c.barrier()
		for _, sub := range own {
			say("own %v", waiting(sub))
		}
		for _, sub := range others {
			say("others %v", waiting(sub))
		}
		c.subscribe("self", "")
		_, err := c.Request("self", nil, wait)
		fails("request to itself", err)
		c.Close()
		other.Close()
	},

	"flush": func() {
		c := connect()
		for count := 0; count < 3; count++ {
			c.barrier()
			say("flushed")
		}
		rtt, err := c.RTT()
		say("rtt %v %v", rtt > 0, err)
		c.Close()
	},

	"drain": drain,

	"close": func() {
		c := connect()
		sub := c.subscribe("c", "")
		c.barrier()
		c.Close()
		say("closed %v", c.IsClosed())
		fails("publish", c.Publish("c", nil))
		_, err := c.SubscribeSync("c")
		fails("subscribe", err)
		_, err = sub.NextMsg(silence)
		fails("next message", err)
	},

	"max_payload": func() {
		c := connect()
		sub := c.subscribe("m", "")
		c.publish("m", strings.Repeat("x", limit))
		say("%d bytes arrive", len(next(sub).Data))
		header := len("NATS/1.0\r\nA: 1\r\n\r\n")
		c.publishMessage(message("m", strings.Repeat("x", limit-header), "A", "1"))
		say("%d bytes with a header arrive", len(next(sub).Data))
		fails("one more", c.Publish("m", make([]byte, limit+1)))
		fails("one more with a header", c.PublishMsg(message("m", strings.Repeat("x", limit-header+1), "A", "1")))
		c.delivers()
		c.Close()
	},

	"read_only": func() {
		c, writer := connect(nats.UserInfo("ro", "ropw")), connect(nats.UserInfo("rw", "rwpw"))
		sub := c.subscribe("perm.>", "")
		c.barrier()
		c.publish("perm.a", "refused")
		say("%s", c.next())
		c.publishMessage(message("perm.a", "refused", "A", "1"))
		say("%s", c.next())
		_, err := c.Request("perm.b", nil, silence)
		fails("request", err)
		say("%s", c.next())
		writer.publish("perm.a", "allowed")
		say("%s", next(sub).Data)
		c.Close()
		writer.Close()
	},

	"write_only": func() {
		c, reader := connect(nats.UserInfo("wo", "wopw")), connect(nats.UserInfo("rw", "rwpw"))
		sub := reader.subscribe("perm.>", "")
		reader.barrier()
		c.subscribe("perm.a", "")
		say("%s", c.next())
		c.subscribe("perm.*", "q")
		say("%s", c.next())
		c.publish("perm.a", "allowed")
		say("%s", next(sub).Data)
		c.Close()
		reader.Close()
	},

	"tls": func() {
		c := connect(nats.RootCAs(os.Getenv("NATS_CA")), nats.UserInfo("rw", "rwpw"))
		c.delivers()
		c.publish("large", strings.Repeat("x", limit))
		c.barrier()
		c.Close()
		_, err := dial()
		fails("unknown authority", err)
	},

	"reconnect": reconnect,
	"crowd":     crowd,
	"relay":     relay,
}

func groups() {
	one, other := connect(), connect()
	members := []*nats.Subscription{one.subscribe("g.*", "q"), one.subscribe("g.>", "q"), other.subscribe("g.a", "q")}
	alone := []*nats.Subscription{other.subscribe("g.a", "r"), other.subscribe("g.a", "")}
	one.barrier()
	other.barrier()
	everything := []int{}
	for number := 0; number < 300; number++ {
		one.publish("g.a", strconv.Itoa(number))
		everything = append(everything, number)
	}
	one.barrier()
	other.barrier()
	numbers := func(sub *nats.Subscription) []int {
		all := []int{}
		for _, payload := range waiting(sub) {
			number, err := strconv.Atoi(payload)
			must(err)
			all = append(all, number)
		}
		return all
	}
	together, inOrder, large := []int{}, true, true
	for _, member := range members {
		share := numbers(member)
		together = append(together, share...)
		inOrder = inOrder && sort.IntsAreSorted(share)
		large = large && len(share) > 30
	}
	sort.Ints(together)
	say("together each once %v", fmt.Sprint(together) == fmt.Sprint(everything))
	say("each in order %v", inOrder)
	say("each has a share %v", large)
	for _, sub := range alone {
		say("alone all %v", fmt.Sprint(numbers(sub)) == fmt.Sprint(everything))
	}
	one.Close()
	other.Close()
}

func request() {
	c, other := connect(), connect()
	_, err := other.QueueSubscribe("service", "servers", func(asked *nats.Msg) {
		answer := message(asked.Reply, "re: "+string(asked.Data))
		if value := asked.Header.Get("A"); value != "" {
			answer.Header.Set("Got", value)
		}
		must(asked.RespondMsg(answer))
	})
	must(err)
	other.barrier()
	for number := 0; number < 3; number++ {
		answer, err := c.Request("service", []byte(strconv.Itoa(number)), wait)
		must(err)
		say("%s %v", answer.Data, answer.Header)
	}
	answer, err := c.RequestMsg(message("service", "with headers", "A", "1"), wait)
	must(err)
	say("%s %v", answer.Data, answer.Header)
	c.Close()
	c = connect(nats.UseOldRequestStyle())
	answer, err = c.Request("service", []byte("old style"), wait)
	must(err)
	say("old style: %s", answer.Data)
	c.Close()
	other.Close()
}

func nobody() {
	c, old := connect(), connect(nats.UseOldRequestStyle())
	_, err := c.Request("nobody.here", nil, wait)
	fails("request", err)
	_, err = old.Request("nobody.here", nil, wait)
	fails("old style", err)
	jetStream, err := c.JetStream()
	must(err)
	_, err = jetStream.AccountInfo()
	fails("JetStream", err)
	silent := c.subscribe("silent", "")
	_, err = c.Request("silent", nil, silence)
	fails("silence", err)
	say("the silent one got %d", len(waiting(silent)))
	c.Close()
	old.Close()
}

func autoUnsubscribe() {
	c := connect()
	names := []string{"soon", "late", "now"}
	subs := []*nats.Subscription{}
	for _, name := range names {
		subs = append(subs, c.subscribe("u."+name, ""))
	}
	must(subs[0].AutoUnsubscribe(3))
	for count := 0; count < 2; count++ {
		c.publish("u.late", "")
		c.publish("u.now", "")
	}
	c.barrier()
	must(subs[1].AutoUnsubscribe(4))
	// It has got so many already.
	must(subs[2].AutoUnsubscribe(2))
	for count := 0; count < 5; count++ {
		for _, name := range names {
			c.publish("u."+name, "")
		}
	}
	c.barrier()
	for index, name := range names {
		count := 0
		for {
			// At the end it says that no more will come.
			_, err := subs[index].NextMsg(silence)
			if err != nil {
				say("%s %d messages, %v", name, count, err)
				break
			}
			count++
		}
	}
	again := c.subscribe("u.soon", "")
	c.publish("u.soon", "again")
	say("%s", next(again).Data)
	must(again.Unsubscribe())
	c.publish("u.soon", "")
	c.barrier()
	delivered, err := again.Delivered()
	say("after unsubscribing %d %v", delivered, err)
	c.Close()
}

func drain() {
	c, other := connect(), connect()
	var got int64
	slowly := func(*nats.Msg) {
		time.Sleep(time.Millisecond)
		atomic.AddInt64(&got, 1)
	}
	sub, err := c.Subscribe("d.one", slowly)
	must(err)
	_, err = c.QueueSubscribe("d.all", "q", slowly)
	must(err)
	last := other.subscribe("d.last", "")
	c.barrier()
	for count := 0; count < 50; count++ {
		other.publish("d.one", "")
	}
	other.barrier()
	must(sub.Drain())
	// The subscription may end while its last message is being handled.
	handled := func(count int64) int64 {
		for end := time.Now().Add(wait); time.Now().Before(end) && (sub.IsValid() || atomic.LoadInt64(&got) < count); {
			time.Sleep(time.Millisecond)
		}
		return atomic.LoadInt64(&got)
	}
	say("subscription drained after %d", handled(50))
	for count := 0; count < 50; count++ {
		other.publish("d.one", "")
		other.publish("d.all", "")
	}
	other.barrier()
	c.publish("d.last", "last words")
	must(c.Drain())
	say("%s", next(last).Data)
	for word := ""; word != "closed"; say("%s", word) {
		word = c.next()
	}
	say("connection drained after %d, closed %v", handled(100), c.IsClosed())
	other.Close()
}

// Prints the words of the client, and each message that has come to two subscriptions, until "end" has; after `reconnected`,
// all is subscribed again.
func reconnect() {
	c := connect(nats.Name("reconnecting"), func(options *nats.Options) error {
		options.AllowReconnect, options.MaxReconnect = true, -1
		return nil
	})
	var once sync.Map
	got := func(message *nats.Msg) {
		// A flood's payloads are long.
		if len(message.Data) > 100 {
			return
		}
		if _, isSecond := once.LoadOrStore(string(message.Data), true); isSecond {
			c.words <- "got " + string(message.Data)
		}
	}
	_, err := c.Subscribe("news.>", got)
	must(err)
	_, err = c.QueueSubscribe("news.>", "q", got)
	must(err)
	limited := c.subscribe("limited", "")
	must(limited.AutoUnsubscribe(3))
	c.barrier()
	say("ready")
	for word := ""; word != "got end"; say("%s", word) {
		word = c.next()
		if word == "reconnected" {
			c.barrier()
			c.publish("heard", "by others")
		}
	}
	count := 0
	for ; ; count++ {
		if _, err := limited.NextMsg(silence); err != nil {
			break
		}
	}
	say("limited %d", count)
	c.Close()
}

// One of several clients at once: publishes at `go`, and lists what it got at `stop`.
func crowd() {
	const each = 20
	name := os.Getenv("NATS_NAME")
	senders, err := strconv.Atoi(os.Getenv("NATS_SENDERS"))
	must(err)
	lines := bufio.NewScanner(os.Stdin)
	c := connect()
	plain, member := c.subscribe("crowd.*", ""), c.subscribe("crowd.>", "q")
	c.barrier()
	say("ready")
	lines.Scan()
	for number := 0; number < each; number++ {
		c.publish("crowd."+name, fmt.Sprintf("%s %d", name, number))
	}
	output := bytes.Buffer{}
	for count := 0; count < senders*each; count++ {
		fmt.Fprintf(&output, "%s: plain %s\n", step, next(plain).Data)
	}
	say("all")
	lines.Scan()
	c.barrier()
	fmt.Print(output.String())
	for _, payload := range waiting(plain) {
		say("plain %s", payload)
	}
	for _, payload := range waiting(member) {
		say("group %s", payload)
	}
	c.Close()
}

// Publishes what the lines of standard input say, and prints each message, its own ones too. A line has subject, payload, reply
// and the header A, in hexadecimal digits; what is empty or absent is a hyphen.
func relay() {
	c := connect()
	written := func(text string) string {
		if text == "" {
			return "-"
		}
		return hex.EncodeToString([]byte(text))
	}
	_, err := c.Subscribe(">", func(message *nats.Msg) {
		parts := []string{message.Subject, string(message.Data), message.Reply, message.Header.Get("A")}
		for index, part := range parts {
			parts[index] = written(part)
		}
		say("%s", strings.Join(parts, " "))
	})
	must(err)
	c.barrier()
	say("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		parts := strings.Fields(lines.Text())
		for index, part := range parts {
			bytes, _ := hex.DecodeString(strings.Trim(part, "-"))
			parts[index] = string(bytes)
		}
		said := &nats.Msg{Subject: parts[0], Data: []byte(parts[1]), Reply: parts[2]}
		if parts[3] != "" {
			said.Header = nats.Header{"A": []string{parts[3]}}
		}
		if err := c.PublishMsg(said); err != nil {
			say("refused %s %v", written(parts[0]), err)
		}
		c.barrier()
	}
	c.Close()
}

func main() {
	host, port = os.Args[1], os.Args[2]
	for _, step = range os.Args[3:] {
		steps[step]()
	}
}
