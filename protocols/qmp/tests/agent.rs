//! The guest agent's client against a scripted agent.

mod peer;

use std::time::Duration;

use peer::Peer;
use qmp::{
    Closed, Error, ErrorClass,
    agent::{Client, GetOsInfo, NetworkGetInterfaces, Options, Ping},
};
use serde_json::{Value, json};
use tokio::net::UnixStream;

fn connected() -> (Client, Peer) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Client::from_stream(ours), Peer::new(theirs))
}

/// Answers a request to synchronise, after `leftovers`.
async fn synchronise(peer: &mut Peer, leftovers: &[u8]) {
    assert_eq!(peer.read_byte().await, 0xff);
    let request = peer.request().await;
    assert_eq!(request["execute"], "guest-sync-delimited");
    peer.bytes(leftovers).await;
    peer.bytes(b"\xff").await;
    peer.send(json!({"return": request["arguments"]["id"]})).await;
}

#[tokio::test]
async fn leftovers_of_an_earlier_conversation_are_skipped() {
    let leftovers =
        b"{\"return\": \"stale\"}\nnot json\n{\"error\": {\"class\": \"GenericError\", \"desc\": \"old\"}}\n{\"return\": {\"unfinis";
    let (client, mut peer) = connected();
    let script = async {
        synchronise(&mut peer, leftovers).await;
        let request = peer.request().await;
        assert_eq!(request, json!({"execute": "guest-get-osinfo"}));
        peer.send(json!({"return": {"id": "debian", "pretty-name": "Debian", "later": 1}})).await;
        // Once is enough while answers come.
        assert_eq!(peer.request().await["execute"], "guest-ping");
        peer.send(json!({"return": {}})).await;
    };
    let calls = async {
        let system = client.execute(GetOsInfo {}).await.unwrap();
        assert_eq!(system.pretty_name.as_deref(), Some("Debian"));
        client.execute(Ping {}).await.unwrap();
    };
    tokio::join!(calls, script);
}

#[tokio::test]
async fn a_call_that_gave_up_leaves_no_trace() {
    let (client, mut peer) = connected();
    let hasty = client.with_reply_timeout(Duration::from_millis(50));
    let script = async {
        synchronise(&mut peer, b"").await;
        assert_eq!(peer.request().await["execute"], "guest-slow");
        // The answer comes when nobody waits for it any more.
        synchronise(&mut peer, b"{\"return\": \"late\"}\n").await;
        assert_eq!(peer.request().await["execute"], "guest-quick");
        peer.send(json!({"return": "quick"})).await;
    };
    let calls = async {
        let slow = hasty.execute_raw("guest-slow", Value::Null).await;
        assert!(matches!(slow, Err(Error::Timeout { .. })));
        assert_eq!(client.execute_raw("guest-quick", Value::Null).await.unwrap(), json!("quick"));
    };
    tokio::join!(calls, script);
}

#[tokio::test]
async fn no_agent_is_a_timeout_that_names_the_command() {
    let (client, _peer) = connected();
    let error = client.with_reply_timeout(Duration::from_millis(20)).execute(Ping {}).await.unwrap_err();
    assert_eq!(error.to_string(), "No reply to `guest-ping` within 20ms");
}

#[tokio::test]
async fn calls_take_turns() {
    let (client, mut peer) = connected();
    let script = async {
        synchronise(&mut peer, b"").await;
        for _ in 0..2 {
            let request = peer.request().await;
            peer.send(json!({"return": request["arguments"]["n"]})).await;
        }
    };
    let (first, second, ()) =
        tokio::join!(client.execute_raw("guest-echo", json!({"n": 1})), client.execute_raw("guest-echo", json!({"n": 2})), script);
    assert_eq!((first.unwrap(), second.unwrap()), (json!(1), json!(2)));
}

#[tokio::test]
async fn commands_that_succeed_in_silence() {
    let (client, mut peer) = connected();
    let script = async {
        synchronise(&mut peer, b"").await;
        assert_eq!(peer.request().await["execute"], "guest-shutdown");
        synchronise(&mut peer, b"").await;
        assert_eq!(peer.request().await["execute"], "guest-shutdown");
        peer.send(json!({"error": {"class": "CommandNotFound", "desc": "Not allowed"}})).await;
    };
    let calls = async {
        let patience = Duration::from_millis(50);
        client.send_raw("guest-shutdown", json!({"mode": "powerdown"}), patience).await.unwrap();
        let refused = client.send_raw("guest-shutdown", Value::Null, Duration::from_secs(30)).await;
        assert_eq!(refused.unwrap_err().class(), Some(&ErrorClass::CommandNotFound));
    };
    tokio::join!(calls, script);
}

#[tokio::test]
async fn a_guest_that_says_too_much_loses_the_channel() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let client = Client::from_stream_with(ours, Options { max_line: 1000, ..Options::default() });
    let mut peer = Peer::new(theirs);
    let script = async {
        peer.bytes(&[b'x'; 2000]).await;
    };
    let (reply, ()) = tokio::join!(client.execute(NetworkGetInterfaces {}), script);
    assert!(matches!(reply, Err(Error::Closed { source: Closed::Protocol { .. }, .. })));
    assert!(matches!(client.execute(Ping {}).await, Err(Error::Closed { .. })));
}
