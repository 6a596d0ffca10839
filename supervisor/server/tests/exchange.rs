//! The exchange with a guest, with a process in the test's own hands: when it is there, what it is asked, and what of its words counts.

use futures::StreamExt;
use machine::exchange::{
    ClipboardFormat, ClipboardPolicy, Exchange, ExchangeCapabilities, ExchangeEvent, ExchangeEvents, ExchangeFolder, Transfer,
};
use machine::fake::{FakeGuest, FakeMachine};
use machine::{ErrorKind, Result, StartOptions, VirtualMachine};
use std::os::unix::net::UnixStream as StdStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use supervisor::exchange::{Needs, Service, Setup, Start, Started, usb};
use supervisor_api::helper::{self, Ask, Tell, Told};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(20);

/// The process's end of its sockets.
struct Process {
    control: UnixStream,
    _connections: StdStream,
    needs: Needs,
}

struct Starts(mpsc::UnboundedSender<Process>);

impl Start for Starts {
    fn start(&self, needs: &Needs) -> Result<Started> {
        let ((control, theirs), (connections, its)) = (StdStream::pair().unwrap(), StdStream::pair().unwrap());
        theirs.set_nonblocking(true).unwrap();
        let process = Process { control: UnixStream::from_std(theirs).unwrap(), _connections: its, needs: needs.clone() };
        self.0.send(process).unwrap();
        Ok(Started { control, connections, process: None })
    }
}

impl Process {
    async fn hears(&mut self) -> Option<(Tell, Vec<u8>)> {
        tokio::time::timeout(PATIENCE, helper::read(&mut self.control)).await.expect("nothing is said").unwrap()
    }

    async fn says(&mut self, told: Told) {
        helper::write(&mut self.control, &told, &[]).await.unwrap();
    }

    /// Begins, and has an agent.
    async fn begins(&mut self) -> Tell {
        let (begin, _) = self.hears().await.unwrap();
        self.says(Told::Ready).await;
        self.says(Told::Agent { present: true }).await;
        begin
    }

    /// Answers the next question.
    async fn answers(&mut self, bytes: &[u8]) -> (Ask, Vec<u8>) {
        let Some((Tell::Ask { number, ask }, brought)) = self.hears().await else { panic!("nothing is asked") };
        helper::write(&mut self.control, &Told::Answer { number, failure: None }, bytes).await.unwrap();
        (ask, brought)
    }
}

struct Test {
    service: Arc<Service>,
    processes: mpsc::UnboundedReceiver<Process>,
    remembered: Arc<Mutex<Vec<ClipboardPolicy>>>,
    folder: tempfile::TempDir,
}

async fn service(policy: ClipboardPolicy, linger: Duration) -> Test {
    let exchange = ExchangeCapabilities { agent: true, usb: 1, folder: true };
    let machine = Arc::new(FakeMachine::new("fake", FakeGuest { exchange, ..FakeGuest::default() }));
    machine.start(StartOptions::default()).await.unwrap();
    let (starts, processes) = mpsc::unbounded_channel();
    let remembered = Arc::new(Mutex::new(Vec::new()));
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup {
        start: Box::new(Starts(starts)),
        usb: usb::Bus { listed: folder.path().join("none"), nodes: folder.path().join("none"), mounts: folder.path().join("none") },
        spool: folder.path().join("spool"),
        policy,
        folder: None,
        remember: Box::new({
            let remembered = remembered.clone();
            move |policy| remembered.lock().unwrap().push(policy)
        }),
        linger,
    };
    Test { service: Service::new(machine, setup), processes, remembered, folder }
}

impl Test {
    async fn process(&mut self) -> Process {
        tokio::time::timeout(PATIENCE, self.processes.recv()).await.expect("no process is started").unwrap()
    }

    /// Sends a file of seven bytes; the process has yet to answer.
    fn sends_a_file(&self) -> tokio::task::JoinHandle<Result<Transfer>> {
        let file = self.folder.path().join("file.txt");
        std::fs::write(&file, "content").unwrap();
        let service = self.service.clone();
        tokio::spawn(async move { service.send_file(file).await })
    }

    /// Listens, with the process that this starts.
    async fn listening(&mut self) -> (ExchangeEvents, Process) {
        let service = self.service.clone();
        let events = tokio::spawn(async move { service.events().await });
        let mut process = self.process().await;
        process.begins().await;
        (events.await.unwrap().unwrap(), process)
    }
}

async fn until(events: &mut ExchangeEvents, what: &str, is: impl Fn(&ExchangeEvent) -> bool) -> ExchangeEvent {
    let waiting = async {
        loop {
            let event = events.next().await.unwrap_or_else(|| panic!("it ended before: {what}"));
            if is(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"))
}

#[tokio::test]
async fn the_process_is_there_as_long_as_something_needs_it() {
    let mut test = service(ClipboardPolicy::Both, Duration::ZERO).await;
    assert!(!test.service.status().await.unwrap().running);
    test.service.begin().await.unwrap();
    assert!(test.processes.try_recv().is_err(), "nothing needs it");

    let (mut events, mut process) = test.listening().await;
    until(&mut events, "the agent", |event| matches!(event, ExchangeEvent::Agent { present: true })).await;
    let given = tokio::spawn({
        let service = test.service.clone();
        async move { service.set_clipboard(ClipboardFormat::Text, b"text".to_vec()).await }
    });
    assert_eq!(process.answers(&[]).await, (Ask::SetClipboard { format: ClipboardFormat::Text }, b"text".to_vec()));
    given.await.unwrap().unwrap();
    // Nobody listens any more, and the guest may still paste.
    drop(events);
    assert!(test.service.status().await.unwrap().running);
    test.service.clear_clipboard().await.unwrap();
    assert!(matches!(process.hears().await, Some((Tell::ClearClipboard, _))));
    assert!(process.hears().await.is_none(), "it is dismissed");
    drop(process);

    // A folder needs it at any time, and another folder another process: what it may open is settled when it starts.
    for name in ["first", "second"] {
        let path = test.folder.path().canonicalize().unwrap().join(name);
        std::fs::create_dir(&path).unwrap();
        let folder = ExchangeFolder { path, read_only: true };
        let shared = tokio::spawn({
            let (service, folder) = (test.service.clone(), folder.clone());
            async move { service.share_folder(Some(folder)).await }
        });
        let mut process = test.process().await;
        assert_eq!(process.needs.folder.as_ref(), Some(&folder));
        assert!(matches!(process.begins().await, Tell::Begin { folder: Some(told), .. } if told == folder));
        shared.await.unwrap().unwrap();
        tokio::spawn(async move { while process.hears().await.is_some() {} });
    }
}

#[tokio::test]
async fn the_policy_counts_before_the_process_is_asked() {
    let mut test = service(ClipboardPolicy::ToGuest, Duration::from_secs(60)).await;
    let refused = test.service.clipboard(ClipboardFormat::Text).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(test.processes.try_recv().is_err(), "the guest is not asked");
    let (mut events, mut process) = test.listening().await;
    // One that was taken over by its guest tells all the same.
    process.says(Told::Offered { formats: vec![ClipboardFormat::Text] }).await;
    // What is told in order is heard in order.
    process.says(Told::Agent { present: false }).await;
    until(&mut events, "the agent's end", |event| matches!(event, ExchangeEvent::Agent { present: false })).await;
    test.service.set_clipboard_policy(ClipboardPolicy::ToHost).await.unwrap();
    assert!(matches!(process.hears().await, Some((Tell::Policy { policy: ClipboardPolicy::ToHost }, _))));
    assert_eq!(*test.remembered.lock().unwrap(), [ClipboardPolicy::ToHost]);
    let refused = test.service.set_clipboard(ClipboardFormat::Text, b"secret".to_vec()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    process.says(Told::Offered { formats: vec![ClipboardFormat::Png] }).await;
    let event = until(&mut events, "an offer", |event| matches!(event, ExchangeEvent::Offered { .. })).await;
    assert_eq!(event, ExchangeEvent::Offered { formats: vec![ClipboardFormat::Png] }, "the first offer was not told");
}

#[tokio::test]
async fn a_process_that_dies_is_an_event_and_another_is_started() {
    let mut test = service(ClipboardPolicy::Both, Duration::from_secs(60)).await;
    let (mut events, mut process) = test.listening().await;
    let sent = test.sends_a_file();
    let (Ask::SendFile { id, path }, _) = process.answers(&[]).await else { panic!("no file") };
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "content");
    assert_eq!(sent.await.unwrap().unwrap(), Transfer { id, name: "file.txt".into(), sent: 0, total: 7, done: false, error: None });
    drop(process);
    let lost = until(&mut events, "the file's end", |event| matches!(event, ExchangeEvent::Transfer { transfer } if transfer.done)).await;
    assert!(matches!(lost, ExchangeEvent::Transfer { transfer } if transfer.error.is_some()) && !path.exists());
    until(&mut events, "the failure", |event| matches!(event, ExchangeEvent::Failed { .. })).await;
    assert!(!test.service.status().await.unwrap().running);
    // One that died at once is not started by itself, or it would die for ever.
    assert!(test.processes.try_recv().is_err());
    drop(test.listening().await);
}

#[tokio::test]
async fn what_a_process_says_is_bounded_and_not_believed() {
    let mut test = service(ClipboardPolicy::Both, Duration::from_secs(60)).await;
    let (mut events, mut process) = test.listening().await;
    let sent = test.sends_a_file();
    let (Ask::SendFile { id, .. }, _) = process.answers(&[]).await else { panic!("no file") };
    sent.await.unwrap().unwrap();
    let transfer = |id, sent| Transfer { id, name: "../../other".into(), sent, total: u64::MAX, done: sent > 7, error: None };
    process.says(Told::Transfer { transfer: transfer(id + 1, 3) }).await;
    process.says(Told::UsbLost { id: "1-1".into(), reason: "none".into() }).await;
    process.says(Told::Answer { number: 999, failure: None }).await;
    process.says(Told::Offered { formats: vec![ClipboardFormat::Text; 1000] }).await;
    process.says(Told::Transfer { transfer: transfer(id, u64::MAX) }).await;
    let Some(ExchangeEvent::Status { .. }) = events.next().await else { panic!("no status") };
    until(&mut events, "the agent", |event| matches!(event, ExchangeEvent::Agent { .. })).await;
    assert!(matches!(events.next().await, Some(ExchangeEvent::Offered { formats }) if formats.len() == 5));
    let Some(ExchangeEvent::Transfer { transfer }) = events.next().await else { panic!("no transfer") };
    assert_eq!(transfer, Transfer { id, name: "file.txt".into(), sent: 7, total: 7, done: true, error: None });
    // A frame that is longer than any.
    process.control.write_all(&[0xff; 8]).await.unwrap();
    let failed = until(&mut events, "the failure", |event| matches!(event, ExchangeEvent::Failed { .. })).await;
    assert!(matches!(failed, ExchangeEvent::Failed { message } if message.contains("no sense")));
}
