//! The thread of a session: GLib's main loop, the channels, and what it is told.

use crate::agent::Agent;
use crate::client::Command;
use crate::display::Displays;
use crate::files::Files;
use crate::news::Teller;
use crate::ports::Ports;
use crate::sound::Sounds;
use crate::usb::Usb;
use crate::{Connector, Error, Options};
use spice::glib;
use spice::prelude::*;
use spice_client_glib as spice;
use std::cell::RefCell;
use std::os::fd::IntoRawFd;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use tokio::sync::{Notify, mpsc};

/// Connections that a session may use: more than a machine can have channels for.
const MAX_CHANNELS: usize = 128;
/// Turns of the main loop in which an ended session may still tidy up.
const TIDYING: usize = 1000;

/// There is one default main context.
static ONE: Mutex<()> = Mutex::new(());

/// Runs a session to its end.
pub fn run(connector: Box<dyn Connector>, options: &Options, commands: mpsc::Receiver<Command>, teller: &Teller) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let context = glib::MainContext::default();
    let Ok(_owned) = context.acquire() else {
        return teller.closed(Some("another thread of this process runs GLib's main loop".into()));
    };
    context.block_on(live(connector, options, commands, teller));
    for _ in 0..TIDYING {
        if !context.iteration(false) {
            break;
        }
    }
    teller.closed(None);
}

/// What a session consists of. The signal handlers hold it, and it goes with the session.
struct Link {
    connector: RefCell<Box<dyn Connector>>,
    connections: RefCell<usize>,
    usb: Option<Usb>,
    agent: Rc<Agent>,
    files: Files,
    ports: Option<Rc<Ports>>,
    sounds: Option<Rc<Sounds>>,
    displays: Option<Rc<Displays>>,
    teller: Teller,
    ended: Notify,
}

async fn live(connector: Box<dyn Connector>, options: &Options, mut commands: mpsc::Receiver<Command>, teller: &Teller) {
    let session = spice::Session::new();
    session.set_enable_smartcard(false);
    session.set_enable_audio(options.sound);
    session.set_enable_usbredir(options.usb);
    // Connections are handed over one by one.
    session.set_client_sockets(true);
    if let Some(folder) = &options.folder {
        session.set_shared_dir(folder.path.to_str());
        session.set_share_dir_ro(folder.read_only);
    } else {
        session.set_shared_dir(None);
    }
    let link = Rc::new(Link {
        connector: RefCell::new(connector),
        connections: RefCell::new(0),
        usb: options.usb.then(|| Usb::new(&session, teller.clone())),
        agent: Rc::new(Agent::new(options.policy, teller.clone())),
        files: Files::new(teller.clone()),
        ports: options.ports.then(|| Rc::new(Ports::new(teller.clone()))),
        sounds: options.sound.then(|| Rc::new(Sounds::new(teller.clone()))),
        displays: options.displays.then(Rc::<Displays>::default),
        teller: teller.clone(),
        ended: Notify::new(),
    });
    let folder = options.folder.is_some();
    let weak = Rc::downgrade(&link);
    session.connect_channel_new(move |_, channel| {
        if let Some(link) = weak.upgrade() {
            link.channel(channel, folder);
        }
    });
    let weak = Rc::downgrade(&link);
    session.connect_disconnected(move |_| {
        if let Some(link) = weak.upgrade() {
            link.ended.notify_one();
        }
    });
    if link.connection().is_some_and(|connection| session.open_fd(connection.into_raw_fd())) {
        link.serve(&mut commands).await;
    } else {
        teller.closed(Some("there is no connection to the machine".into()));
    }
    link.agent.gone();
    session.disconnect();
}

impl Link {
    /// Does as it is told until either side has enough.
    async fn serve(self: &Rc<Self>, commands: &mut mpsc::Receiver<Command>) {
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                () = self.ended.notified() => {
                    return self.teller.closed(Some("the machine's SPICE server ended the connection".into()));
                }
            }
        }
    }

    fn connection(&self) -> Option<std::os::fd::OwnedFd> {
        let mut used = self.connections.borrow_mut();
        if *used >= MAX_CHANNELS {
            tracing::warn!("The SPICE server wants more than {MAX_CHANNELS} channels");
            return None;
        }
        *used += 1;
        match self.connector.borrow_mut().connect() {
            Ok(connection) => Some(connection),
            Err(error) => {
                tracing::warn!(%error, "There is no further connection to the SPICE server");
                None
            }
        }
    }

    /// The server has another channel: opened where it is wanted.
    fn channel(self: &Rc<Self>, channel: &spice::Channel, folder: bool) {
        let weak = Rc::downgrade(self);
        channel.connect_open_fd(move |channel, _| {
            if let Some(connection) = weak.upgrade().and_then(|link| link.connection()) {
                channel.open_fd(connection.into_raw_fd());
            }
        });
        if let Some(main) = channel.downcast_ref::<spice::MainChannel>() {
            let weak = Rc::downgrade(self);
            main.connect_channel_event(move |_, event| {
                if let Some(link) = weak.upgrade() {
                    link.main_event(event);
                }
            });
            self.files.watch(main);
            // It is connecting already.
            return self.agent.clone().watch(main);
        }
        let wanted = if channel.is::<spice::WebdavChannel>() {
            folder
        } else if let Some(port) = channel.downcast_ref::<spice::PortChannel>() {
            self.ports.as_ref().is_some_and(|ports| ports.clone().watch(port))
        } else if channel.is::<spice::UsbredirChannel>() {
            self.usb.as_ref().is_some_and(Usb::works)
        } else if let Some(playback) = channel.downcast_ref::<spice::PlaybackChannel>() {
            self.sounds.as_ref().is_some_and(|sounds| sounds.clone().watch_playback(playback))
        } else if let Some(record) = channel.downcast_ref::<spice::RecordChannel>() {
            self.sounds.as_ref().is_some_and(|sounds| sounds.clone().watch_record(record))
        } else {
            self.displays.as_ref().is_some_and(|displays| displays.clone().watch(channel))
        };
        if wanted {
            ChannelExt::connect(channel);
        }
    }

    fn main_event(&self, event: spice::ChannelEvent) {
        match event {
            spice::ChannelEvent::Opened => self.teller.connected(),
            spice::ChannelEvent::None => {}
            spice::ChannelEvent::Closed | spice::ChannelEvent::Switching => self.ended.notify_one(),
            other => {
                self.teller.closed(Some(format!("the SPICE server cannot be used ({other:?})")));
                self.ended.notify_one();
            }
        }
    }

    fn obey(self: &Rc<Self>, command: Command) {
        let none = |what: &'static str| Error::Unsupported { what, why: "this session is not for that".into() };
        // Whoever asked may have gone.
        match command {
            Command::Policy(policy) => self.agent.set_policy(policy),
            Command::Clipboard(format, reply) => self.agent.fetch(format, reply),
            Command::SetClipboard(format, data, reply) => drop(reply.send(self.agent.give(format, data))),
            Command::ClearClipboard => self.agent.take_back(),
            Command::SendFile(id, path, reply) => drop(reply.send(self.files.send(&self.agent, id, &path))),
            Command::CancelFile(id, reply) => drop(reply.send(self.files.cancel(id))),
            Command::AttachUsb(id, device, reply) => match &self.usb {
                Some(usb) => usb.attach(id, device, reply),
                None => drop(reply.send(Err(none("Attaching a USB device")))),
            },
            Command::DetachUsb(id, reply) => match &self.usb {
                Some(usb) => usb.detach(&id, reply),
                None => drop(reply.send(Err(none("Detaching a USB device")))),
            },
            Command::Monitors(monitors, reply) => drop(reply.send(self.agent.arrange(&monitors))),
            Command::WritePort(name, data, reply) => match &self.ports {
                Some(ports) => ports.write(&name, data, reply),
                None => drop(reply.send(Err(none("Writing to a port")))),
            },
            Command::Record(samples) => {
                if let Some(sounds) = &self.sounds {
                    sounds.record(samples);
                }
            }
            Command::Heads(reply) => {
                drop(reply.send(self.displays.as_ref().map(|displays| displays.heads()).ok_or_else(|| none("Showing displays"))));
            }
            Command::Watch(head, source, reply) => {
                let shown = self.displays.as_ref().ok_or_else(|| none("Showing displays"));
                drop(reply.send(shown.and_then(|displays| displays.show(head, source))));
            }
            Command::Input(head, input, reply) => {
                let displays = self.displays.as_ref().ok_or_else(|| none("Input"));
                drop(reply.send(displays.and_then(|displays| displays.input(head, input, self.agent.takes_positions()))));
            }
            Command::Size(head, request, reply) => drop(reply.send(self.agent.resize(head, request))),
            Command::Leds(reply) => {
                drop(reply.send(Ok(self.displays.as_ref().map(|displays| displays.leds()).unwrap_or_default())));
            }
            Command::TakesPositions(reply) => drop(reply.send(Ok(self.agent.takes_positions()))),
        }
    }
}
