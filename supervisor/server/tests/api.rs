//! The API over a real socket, with the client that everybody uses and a machine without a hypervisor.

use machine::fake::{FakeGuest, FakeMachine};
use machine::{EndReason, ErrorKind, Event, Medium, StartOptions, State, StopMethod, VirtualMachine, WarningKind};
use std::sync::{Arc, Mutex};
use supervisor::api;
use supervisor::pictures::Pictures;
use supervisor::session::{MediaRecord, Session};
use supervisor_api::wire::StreamItem;
use supervisor_api::{Client, ClientError};
use tokio::net::UnixListener;

#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<Changes>>);

type Changes = Vec<(String, Option<(Medium, String)>)>;

impl MediaRecord for Recorded {
    fn record(&self, drive: &str, medium: Option<(&Medium, &str)>) {
        self.0.lock().unwrap().push((drive.into(), medium.map(|(medium, format)| (medium.clone(), format.to_owned()))));
    }
}

struct Served {
    machine: Arc<FakeMachine>,
    client: Client,
    recorded: Recorded,
    folder: tempfile::TempDir,
}

async fn serve(guest: FakeGuest) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let machine = Arc::new(FakeMachine::new("fake", guest));
    let recorded = Recorded::default();
    let session = Arc::new(Session::new(
        machine.clone(),
        Box::new(recorded.clone()),
        Pictures::new(folder.path(), true, false),
        "/machines/fake.utm".into(),
        StartOptions::default(),
        None,
        vec![WarningKind::Configuration.says("Mind the gap")],
    ));
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move { axum::serve(listener, api::router(session)).await });
    Served { machine, client: Client::new(socket), recorded, folder }
}

fn refusal(result: Result<(), ClientError>) -> (ErrorKind, String) {
    match result {
        Err(ClientError::Refused(failure)) => (failure.kind, failure.message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_machine_is_driven_through_its_life() {
    let served = serve(FakeGuest::default()).await;
    let client = &served.client;
    assert_eq!(client.status().await.unwrap().state, State::Stopped);
    let (kind, message) = refusal(client.pause().await);
    assert_eq!(kind, ErrorKind::WrongState);
    assert_eq!(message, "Cannot pause a machine that is stopped; it must be running");

    served.machine.start(StartOptions::default()).await.unwrap();
    client.pause().await.unwrap();
    assert_eq!(client.status().await.unwrap().state, State::Paused);
    client.resume().await.unwrap();
    client.reset().await.unwrap();
    assert!(client.screenshot(0).await.unwrap().starts_with(b"\x89PNG"));
    let status = client.status().await.unwrap();
    assert_eq!(status.warnings, [WarningKind::Configuration.says("Mind the gap")]);
    assert_eq!(status.supervisor_pid, Some(std::process::id()));

    let mut events = client.events().await.unwrap();
    assert!(matches!(events.next().await.unwrap(), Some(StreamItem::Status(status)) if status.state == State::Running));
    client.stop(StopMethod::Request).await.unwrap();
    let mut last = None;
    while let Some(item) = events.next().await.unwrap() {
        last = Some(item);
    }
    let Some(StreamItem::Event(Event::Ended { ending })) = last else { panic!("{last:?}") };
    assert_eq!(ending.reason, EndReason::GuestShutdown);
}

#[tokio::test]
async fn a_picture_is_kept_when_somebody_pauses_or_stops_but_not_before_a_kill() {
    let served = serve(FakeGuest::default()).await;
    let client = &served.client;
    let file = served.folder.path().join("screenshot.png");
    let take = || std::fs::read(&file).is_ok_and(|png| png.starts_with(b"\x89PNG")) && std::fs::remove_file(&file).is_ok();
    served.machine.start(StartOptions::default()).await.unwrap();
    client.screenshot(0).await.unwrap();
    assert!(!take());
    client.pause().await.unwrap();
    assert!(take());
    client.resume().await.unwrap();
    client.reset().await.unwrap();
    assert!(!take());
    client.stop(StopMethod::Force).await.unwrap();
    assert!(take());
    served.machine.start(StartOptions::default()).await.unwrap();
    client.stop(StopMethod::Kill).await.unwrap();
    assert!(!take());
}

#[tokio::test]
async fn media_are_changed_and_remembered() {
    let served = serve(FakeGuest { tray_locked: true, ..FakeGuest::default() }).await;
    served.machine.start(StartOptions::default()).await.unwrap();
    let client = &served.client;
    client.insert("cd", "/images/a b.iso".into(), true).await.unwrap();
    let drives = client.status().await.unwrap().drives;
    assert_eq!(drives[0].medium.as_deref(), Some("/images/a b.iso".as_ref()));
    assert_eq!(refusal(client.eject("cd", false).await).0, ErrorKind::Backend);
    client.eject("cd", true).await.unwrap();
    assert_eq!(refusal(client.insert("cd", "relative.iso".into(), true).await).0, ErrorKind::File);
    assert_eq!(refusal(client.insert("no/such drive", "/a.iso".into(), true).await).0, ErrorKind::NotFound);
    assert_eq!(refusal(client.eject("disk", true).await).0, ErrorKind::Unsupported);
    let recorded = served.recorded.0.lock().unwrap();
    let formats: Vec<_> =
        recorded.iter().map(|(drive, medium)| (drive.as_str(), medium.as_ref().map(|(_, format)| format.as_str()))).collect();
    assert_eq!(formats, [("cd", Some("raw")), ("cd", None)], "only what succeeded is remembered");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_reason() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let served = serve(FakeGuest::default()).await;
    let ask = async |request: &str| {
        let mut stream = tokio::net::UnixStream::connect(served.client.socket()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer =
        ask("POST /v1/stop HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{x}")
            .await;
    assert!(answer.starts_with("HTTP/1.1 422") && answer.contains("\"kind\":\"configuration\""), "{answer}");
    let answer = ask("GET /v2/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("\"kind\":\"not_found\""), "{answer}");
    let answer = ask("GET /v1/displays/x/screenshot HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn nobody_at_the_socket_is_told_as_absence() {
    let client = Client::new("/nowhere/api.sock");
    assert!(matches!(client.status().await, Err(ClientError::Absent { .. })));
}

/// Set `VIVARIUM_UPDATE=1` to write the document anew.
#[test]
fn the_committed_api_description_is_what_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../api/openapi.json");
    let served = api::openapi();
    if std::env::var_os("VIVARIUM_UPDATE").is_some() {
        std::fs::write(path, &served).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), served, "run the test with VIVARIUM_UPDATE=1");
}
