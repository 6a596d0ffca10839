//! The client against a peer that does what peers should not, or not yet.

mod peer;

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::AsFd,
    pin::pin,
    time::Duration,
};

use peer::{PATIENCE, Peer, connected, connected_with};
use qmp::{
    Client, Closed, Error, ErrorClass, Event, Notice, Options,
    commands::{AddFd, Cont, Getfd, MigrateIncoming, QueryJobs, QueryStatus, QueryYank, Stop},
    types::{JobStatus, JobType, RunState},
};
use serde_json::{Value, json};
use tokio::{net::UnixStream, time::timeout};

#[tokio::test]
async fn negotiation_enables_what_is_offered_and_known() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut peer = Peer::new(theirs);
    let script = async {
        peer.send(json!({"QMP": {"capabilities": ["oob", 7, "later"]}})).await;
        let request = peer.request().await;
        assert_eq!(request["arguments"], json!({"enable": ["oob"]}));
        peer.answer(&request, json!({})).await;
    };
    let (client, ()) = tokio::join!(Client::from_stream(ours), script);
    let client = client.unwrap();
    assert!(client.out_of_band());
    assert_eq!(client.greeting().version, None);
    assert_eq!(client.greeting().capabilities, ["oob", "later"]);
}

#[tokio::test]
async fn out_of_band_needs_the_peer_to_offer_it() {
    let (client, _peer) = connected_with(Options::default(), json!([])).await;
    let error = client.execute_oob(QueryYank::default()).await.unwrap_err();
    assert!(matches!(error, Error::NoOutOfBand { .. }));

    let (client, mut peer) = connected().await;
    let script = async {
        let request = peer.request().await;
        assert_eq!(request["exec-oob"], "query-yank");
        peer.answer(&request, json!([])).await;
    };
    let (reply, ()) = tokio::join!(client.execute_oob(QueryYank::default()), script);
    assert_eq!(reply.unwrap(), json!([]));
}

#[tokio::test]
async fn silence_instead_of_a_greeting_times_out() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let options = Options { greeting_timeout: Duration::from_millis(20), ..Options::default() };
    let error = Client::from_stream_with(ours, options).await.unwrap_err();
    assert!(matches!(error, Error::NoGreeting { .. }));
}

#[tokio::test]
async fn something_else_instead_of_a_greeting_is_shown() {
    for (sent, seen) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], "SSH-2.0-OpenSSH_9.2"),
        (b"\xfe\xff binary\n", "\u{fffd}\u{fffd} binary"),
        (b"{\"hello\": 1}\n", "{\"hello\": 1}"),
    ] {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut peer = Peer::new(theirs);
        let (outcome, ()) = tokio::join!(Client::from_stream(ours), peer.bytes(sent));
        match outcome {
            Err(Error::NotQmp { seen: shown }) => assert_eq!(shown, seen),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn typed_commands_and_words_that_are_not_known_yet() {
    let (client, mut peer) = connected().await;
    let script = async {
        let request = peer.request().await;
        assert_eq!(request["execute"], "query-status");
        assert!(request.get("arguments").is_none());
        peer.answer(&request, json!({"running": false, "status": "dreaming", "new": {"a": 1}})).await;
        let request = peer.request().await;
        peer.answer(&request, json!([{"id": "j", "type": "mirror", "status": "null", "current-progress": 1, "total-progress": 2}])).await;
    };
    let calls = async {
        let status = client.execute(QueryStatus::default()).await.unwrap();
        assert_eq!(status.status, RunState::Other("dreaming".to_owned()));
        let jobs = client.execute(QueryJobs::default()).await.unwrap();
        assert_eq!((&jobs[0].r#type, &jobs[0].status), (&JobType::Mirror, &JobStatus::Null));
    };
    tokio::join!(calls, script);
}

#[tokio::test]
async fn errors_keep_class_and_description() {
    let (client, mut peer) = connected().await;
    let script = async {
        let request = peer.request().await;
        peer.send(json!({"error": {"class": "Novel", "desc": "No"}, "id": request["id"], "new": 1})).await;
        let request = peer.request().await;
        peer.send(json!({"error": {"class": "DeviceNotFound"}, "id": request["id"]})).await;
    };
    let calls = async {
        let error = client.execute(Stop::default()).await.unwrap_err();
        assert_eq!(error.to_string(), "`stop` failed: No");
        assert_eq!(error.class(), Some(&ErrorClass::Other("Novel".to_owned())));
        let error = client.execute(Stop::default()).await.unwrap_err();
        assert_eq!(error.class(), Some(&ErrorClass::DeviceNotFound));
    };
    tokio::join!(calls, script);
}

#[tokio::test]
async fn replies_find_their_calls_in_any_order() {
    let (client, mut peer) = connected().await;
    let script = async {
        let mut requests = Vec::new();
        for _ in 0..20 {
            requests.push(peer.request().await);
        }
        for request in requests.iter().rev() {
            peer.answer(request, request["arguments"]["n"].clone()).await;
        }
    };
    let calls = async {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..20 {
            let client = client.clone();
            tasks.spawn(async move { (n, client.execute_raw("echo", json!({"n": n})).await) });
        }
        while let Some(done) = tasks.join_next().await {
            let (n, reply) = done.unwrap();
            assert_eq!(reply.unwrap(), json!(n));
        }
    };
    tokio::join!(calls, script);
}

#[tokio::test]
async fn a_dropped_call_disturbs_nobody() {
    let (client, mut peer) = connected().await;
    for _ in 0..100 {
        // Written or not, answered or not: polled a few times, then dropped.
        drop(timeout(Duration::from_micros(200), client.execute_raw("slow", Value::Null)).await);
    }
    let script = async {
        loop {
            let request = peer.request().await;
            if request["execute"] == "last" {
                peer.answer(&request, json!("last")).await;
                break;
            }
            peer.answer(&request, json!("late")).await;
        }
    };
    let (reply, ()) = tokio::join!(client.execute_raw("last", Value::Null), script);
    assert_eq!(reply.unwrap(), json!("last"));
}

#[tokio::test]
async fn no_reply_is_a_timeout_that_names_the_command() {
    let (client, mut peer) = connected().await;
    let hasty = client.with_reply_timeout(Duration::from_millis(20));
    let error = hasty.execute(Cont::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "No reply to `cont` within 20ms");
    // The late reply goes nowhere.
    let late = peer.request().await;
    peer.answer(&late, json!({})).await;
    let script = async {
        let request = peer.request().await;
        peer.answer(&request, json!({"running": true, "status": "running"})).await;
    };
    let (status, ()) = tokio::join!(client.execute(QueryStatus::default()), script);
    assert_eq!(status.unwrap().status, RunState::Running);
}

#[tokio::test]
async fn a_reply_of_another_form_is_an_error_and_no_more() {
    let (client, mut peer) = connected().await;
    let script = async {
        let request = peer.request().await;
        peer.answer(&request, json!({"running": "perhaps"})).await;
        let request = peer.request().await;
        // A command that returns nothing may return something one day.
        peer.answer(&request, json!(["something"])).await;
    };
    let calls = async {
        let error = client.execute(QueryStatus::default()).await.unwrap_err();
        assert!(matches!(error, Error::Reply { .. }));
        client.execute(Cont::default()).await.unwrap();
    };
    tokio::join!(calls, script);
}

#[tokio::test]
async fn garbage_between_messages_is_skipped() {
    let (client, mut peer) = connected().await;
    let script = async {
        let request = peer.request().await;
        let deep = "[".repeat(100_000);
        for line in ["garbage", "{\"a\"", "[]", "\"text\"", "{\"return\": 1, \"id\": 999999}", "", &deep] {
            peer.bytes(line.as_bytes()).await;
            peer.bytes(b"\n").await;
        }
        peer.bytes(b"\x80\x81\n").await;
        peer.send(json!({"QMP": {}})).await;
        peer.answer(&request, json!({})).await;
    };
    let (reply, ()) = tokio::join!(client.execute(Cont::default()), script);
    reply.unwrap();
}

#[tokio::test]
async fn endless_garbage_ends_the_connection() {
    let (client, mut peer) = connected().await;
    let script = async {
        for _ in 0..100 {
            peer.bytes(b"What is this?\n").await;
        }
    };
    let (reason, ()) = tokio::join!(client.closed(), script);
    assert!(reason.to_string().contains("What is this?"), "{reason}");
}

#[tokio::test]
async fn a_line_beyond_the_limit_ends_the_connection() {
    let options = Options { max_line: 1 << 20, ..Options::default() };
    let (client, mut peer) = connected_with(options, json!([])).await;
    let call = client.execute(Cont::default());
    let script = async {
        peer.request().await;
        // Up to a gibibyte: the client hangs up long before, and does not hold what it read.
        let chunk = vec![b' '; 1 << 16];
        use tokio::io::AsyncWriteExt;
        for _ in 0..1 << 14 {
            if peer.stream.get_mut().write_all(&chunk).await.is_err() {
                return true;
            }
        }
        false
    };
    let (reply, hung_up) = tokio::join!(call, script);
    assert!(hung_up);
    match reply {
        Err(Error::Closed { command, source: Closed::Protocol { seen } }) => {
            assert_eq!(command, "cont");
            assert!(seen.contains("1048576"), "{seen}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_peer_that_leaves_ends_all_calls() {
    for (last_words, mid_message) in [(&b""[..], false), (b"{\"return\": {\"runn", true)] {
        let (client, mut peer) = connected().await;
        let script = async {
            peer.request().await;
            peer.request().await;
            peer.bytes(last_words).await;
            drop(peer);
        };
        let (first, second, ()) = tokio::join!(client.execute(QueryStatus::default()), client.execute(Cont::default()), script);
        for (error, command) in [(first.unwrap_err(), "query-status"), (second.unwrap_err(), "cont")] {
            match error {
                Error::Closed { command: named, source } => {
                    assert_eq!(named, command);
                    assert_eq!(matches!(source, Closed::MidMessage { .. }), mid_message, "{source}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(client.is_closed());
        assert!(matches!(client.execute(Cont::default()).await, Err(Error::Closed { .. })));
        assert_eq!(client.events().next().await, None);
    }
}

#[tokio::test]
async fn a_reply_right_before_the_end_arrives() {
    let (client, mut peer) = connected().await;
    let script = async {
        let request = peer.request().await;
        peer.answer(&request, json!({})).await;
        peer.send(json!({"event": "SHUTDOWN", "data": {"guest": false, "reason": "host-qmp-quit"}})).await;
        drop(peer);
    };
    let mut events = client.events();
    let (reply, ()) = tokio::join!(client.execute_raw("quit", Value::Null), script);
    reply.unwrap();
    assert!(matches!(events.next().await, Some(Notice::Event { event: Event::Shutdown(_), .. })));
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn dropping_the_last_client_hangs_up() {
    let (client, mut peer) = connected().await;
    let other = client.clone();
    let mut events = client.events();
    drop((client, other));
    assert_eq!(timeout(PATIENCE, events.next()).await.unwrap(), None);
    let mut rest = Vec::new();
    use tokio::io::AsyncReadExt;
    peer.stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_peer_that_does_not_read_does_not_hold_up_events() {
    let (client, mut peer) = connected().await;
    let mut events = client.events();
    // More than the socket takes; nobody reads it.
    let call = client.execute_raw("big", json!({"text": "x".repeat(8 << 20)}));
    let mut call = pin!(call);
    let event = async {
        peer.send(json!({"event": "STOP", "timestamp": {"seconds": 5, "microseconds": 7}})).await;
        timeout(PATIENCE, events.next()).await.unwrap()
    };
    tokio::select! {
        reply = &mut call => panic!("{reply:?}"),
        notice = event => match notice {
            Some(Notice::Event { event: Event::Stop, timestamp }) => assert_eq!((timestamp.seconds, timestamp.microseconds), (5, 7)),
            other => panic!("{other:?}"),
        },
    }
}

#[tokio::test]
async fn events_known_unknown_and_changed() {
    let (client, mut peer) = connected().await;
    // Before anybody has subscribed: the first receiver gets these too.
    peer.send(json!({"event": "RESET", "data": {"guest": true, "reason": "boredom", "new": 1}})).await;
    peer.send(json!({"event": "MOON_PHASE_CHANGED", "data": {"phase": "full"}})).await;
    peer.send(json!({"event": "RTC_CHANGE", "data": {"offset": "text"}})).await;
    peer.send(json!({"event": "POWERDOWN"})).await;
    let mut seen = Vec::new();
    let script = async {
        let request = peer.request().await;
        peer.answer(&request, json!({})).await;
    };
    let (reply, ()) = tokio::join!(client.execute(Cont::default()), script);
    reply.unwrap();
    let mut events = client.events();
    for _ in 0..4 {
        match timeout(PATIENCE, events.next()).await.unwrap() {
            Some(Notice::Event { event, .. }) => seen.push(event),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(&seen[0], Event::Reset(reset) if reset.guest && reset.reason.as_str() == "boredom"));
    assert!(matches!(&seen[1], Event::Other(raw) if raw.data == json!({"phase": "full"})));
    assert_eq!(seen[1].name(), "MOON_PHASE_CHANGED");
    assert!(matches!(&seen[2], Event::Other(raw) if raw.name == "RTC_CHANGE"));
    assert_eq!(seen[3], Event::Powerdown);
}

#[tokio::test]
async fn a_slow_receiver_is_told_what_it_missed() {
    let options = Options { event_backlog: 4, ..Options::default() };
    let (client, mut peer) = connected_with(options, json!([])).await;
    let mut slow = client.events();
    let script = async {
        for _ in 0..1000 {
            peer.send(json!({"event": "STOP"})).await;
        }
        let request = peer.request().await;
        peer.answer(&request, json!({})).await;
    };
    // The reply comes although nobody takes the events.
    let (reply, ()) = tokio::join!(client.execute(Cont::default()), script);
    reply.unwrap();
    assert_eq!(slow.next().await, Some(Notice::Missed(996)));
    for _ in 0..4 {
        assert!(matches!(slow.next().await, Some(Notice::Event { event: Event::Stop, .. })));
    }
}

#[tokio::test]
async fn descriptors_arrive_with_their_requests() {
    let (client, mut peer) = connected().await;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"from a file").unwrap();
    let script = async {
        let (bytes, mut descriptors) = peer.receive().await;
        let request: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(request["arguments"], json!({"fdset-id": 3}));
        assert_eq!(descriptors.len(), 1);
        let mut received = File::from(descriptors.remove(0));
        std::io::Seek::rewind(&mut received).unwrap();
        let mut text = String::new();
        received.read_to_string(&mut text).unwrap();
        assert_eq!(text, "from a file");
        peer.answer(&request, json!({"fdset-id": 3, "fd": 20})).await;
    };
    let call = client.execute_with_fd(AddFd { fdset_id: Some(3), opaque: None }, file.as_fd());
    let (added, ()) = tokio::join!(call, script);
    assert_eq!(added.unwrap().fd, 20);
}

#[tokio::test]
async fn one_descriptor_is_under_way_at_a_time() {
    let (client, mut peer) = connected().await;
    let file = tempfile::tempfile().unwrap();
    // A call that gives up still blocks the next descriptor: the peer has not taken its own yet.
    let hasty = client.with_reply_timeout(Duration::from_millis(20));
    let gave_up = hasty.execute_with_fd(Getfd::new("first"), file.as_fd()).await;
    assert!(matches!(gave_up, Err(Error::Timeout { .. })));
    let blocked = hasty.execute_with_fd(Getfd::new("second"), file.as_fd()).await;
    assert!(matches!(blocked, Err(Error::Timeout { .. })));

    let (bytes, descriptors) = peer.receive().await;
    let first: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((&first["arguments"]["fdname"], descriptors.len()), (&json!("first"), 1));
    let script = async {
        peer.answer(&first, json!({})).await;
        let (bytes, descriptors) = peer.receive().await;
        let third: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((&third["arguments"]["fdname"], descriptors.len()), (&json!("third"), 1));
        peer.answer(&third, json!({})).await;
    };
    let (reply, ()) = tokio::join!(client.execute_with_fd(Getfd::new("third"), file.as_fd()), script);
    reply.unwrap();
}

#[tokio::test]
async fn an_error_without_id_ends_the_only_call() {
    let (client, mut peer) = connected().await;
    let script = async {
        peer.request().await;
        peer.send(json!({"error": {"class": "GenericError", "desc": "Invalid JSON syntax"}})).await;
    };
    let (reply, ()) = tokio::join!(client.execute(MigrateIncoming::default()), script);
    assert!(matches!(reply, Err(Error::Command { .. })));
}

#[tokio::test]
async fn nobody_at_the_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor");
    let error = Client::connect(&path).await.unwrap_err();
    assert_eq!(error.to_string(), format!("Could not connect to {}", path.display()));
}

#[test]
fn clients_can_be_shared() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    fn sent<T: Send>(_: T) {}
    shared::<Client>();
    shared::<qmp::agent::Client>();
    fn calls(client: &Client, agent: &qmp::agent::Client) {
        sent(client.execute(QueryStatus::default()));
        sent(client.events().next());
        sent(agent.execute(qmp::agent::Ping {}));
    }
    let _ = calls;
}
