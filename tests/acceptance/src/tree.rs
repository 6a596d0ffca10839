//! What a screen reader sees of the app, and does there: names, roles and actions, over AT-SPI.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use zbus::Connection;
use zbus::wire::{OwnedObjectPath, OwnedVariant, Variant};

use crate::{App, Home, Screen, eventually, program, skip};

/// How long the app may take until something can be found, beside others on a slow computer.
const PATIENCE: Duration = Duration::from_secs(60);
/// More than any window has. What is found in a tree that changes meanwhile may be strange.
const MOST: usize = 5000;

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const ACCESSIBLE: &str = "org.a11y.atspi.Accessible";
const REGISTRY: (&str, &str) = ("org.a11y.atspi.Registry", "/org/a11y/atspi/accessible/root");
/// Where Debian has it, and where others do.
const LAUNCHERS: [&str; 2] = ["/usr/libexec/at-spi-bus-launcher", "/usr/lib/at-spi2-core/at-spi-bus-launcher"];

/// What something is, as AT-SPI numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Role {
    /// A line of text.
    Label = 29,
    /// A line of a list or menu.
    Item = 32,
    /// The way to a page.
    Tab = 37,
    /// A button.
    Button = 43,
    /// One of several.
    Radio = 44,
    /// On or off.
    Switch = 62,
    /// Where text is typed.
    Entry = 79,
}

/// States, by their bits.
const ENABLED: u32 = 8;

/// The bus of a desktop, and what is accessible there. It ends with this.
pub struct Tree {
    session: Child,
    /// What `DBUS_SESSION_BUS_ADDRESS` is for programs on this desktop.
    pub address: String,
    runtime: Runtime,
    accessible: Connection,
}

/// Something that is accessible: whose it is, and which.
type Node = (String, OwnedObjectPath);

impl Tree {
    /// A bus for the desktop of one home, or a reason to skip.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn new(home: &Home, screen: &Screen) -> Option<Self> {
        if program("dbus-daemon").is_none() || !LAUNCHERS.iter().any(|path| Path::new(path).is_file()) {
            skip("dbus-daemon or at-spi2-core is not installed");
            return None;
        }
        let mut command = screen.dress(home.other_program("dbus-daemon"));
        command.args(["--session", "--nofork", "--nopidfile", "--print-address=1"]);
        let mut session = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(session.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let address = address.trim().to_owned();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let accessible = runtime.block_on(accessible(&address)).unwrap();
        Some(Self { session, address, runtime, accessible })
    }

    /// Presses what has a name and a role, as soon as it is there and can be pressed.
    pub fn press(&self, name: &str, role: Role) {
        let node = self.wait(name, role, true);
        let done: zbus::Result<bool> = self.call(&node, "org.a11y.atspi.Action", "DoAction", &(0_i32,));
        assert!(done.is_ok_and(|done| done), "{name} cannot be pressed");
    }

    /// Gives the keyboard to what has a name and a role.
    pub fn focus(&self, name: &str, role: Role) {
        let node = self.wait(name, role, true);
        let done: zbus::Result<bool> = self.call(&node, "org.a11y.atspi.Component", "GrabFocus", &());
        assert!(done.is_ok_and(|done| done), "{name} does not take the keyboard");
    }

    /// Writes into a field, and waits until it holds what was written.
    pub fn write(&self, app: &App<'_>, name: &str, text: &str) {
        self.focus(name, Role::Entry);
        app.write(text);
        self.holds(name, text);
    }

    /// Waits until something has that name and role.
    pub fn shows(&self, name: &str, role: Role) {
        self.wait(name, role, false);
    }

    /// Waits until a field holds a text.
    pub fn holds(&self, name: &str, text: &str) {
        eventually(&format!("{name} is {text:?}"), PATIENCE, || {
            let node = self.find(name, Role::Entry)?;
            let held: String = self.call(&node, "org.a11y.atspi.Text", "GetText", &(0_i32, -1_i32)).ok()?;
            (held == text).then_some(())
        });
    }

    /// Everything that can be used and has no name: a person who does not see it has no way to know what it is.
    pub fn nameless(&self) -> Vec<String> {
        let usable = [Role::Item, Role::Tab, Role::Button, Role::Radio, Role::Switch, Role::Entry];
        let nodes = self
            .nodes()
            .into_iter()
            .filter(|(_, name, role)| name.trim().is_empty() && usable.iter().any(|usable| *usable as u32 == *role));
        nodes.map(|((_, path), _, role)| format!("{path}: role {role}")).collect()
    }

    /// All names with their roles, for a failure's message.
    pub fn names(&self) -> String {
        self.nodes().into_iter().filter(|(_, name, _)| !name.is_empty()).map(|(_, name, role)| format!("{role:>4} {name}\n")).collect()
    }

    fn wait(&self, name: &str, role: Role, enabled: bool) -> Node {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(node) = self.find(name, role).filter(|node| !enabled || self.has_state(node, ENABLED)) {
                return node;
            }
            assert!(
                Instant::now() < until,
                "no {role:?} {name:?}{} among\n{}",
                if enabled { " that can be used" } else { "" },
                self.names()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn find(&self, name: &str, role: Role) -> Option<Node> {
        self.nodes().into_iter().find(|(_, other, is)| other == name && *is == role as u32).map(|(node, _, _)| node)
    }

    fn has_state(&self, node: &Node, state: u32) -> bool {
        let states: Vec<u32> = self.call(node, ACCESSIBLE, "GetState", &()).unwrap_or_default();
        states.first().is_some_and(|low| low & (1 << state) != 0)
    }

    /// Everything of every app, with names and roles. What goes while it is looked at is left out.
    fn nodes(&self) -> Vec<(Node, String, u32)> {
        let mut found = Vec::new();
        let root = (REGISTRY.0.to_owned(), OwnedObjectPath::try_from(REGISTRY.1).unwrap());
        let mut left = self.children(&root);
        left.reverse();
        while let Some(node) = left.pop().filter(|_| found.len() < MOST) {
            let mut children = self.children(&node);
            children.reverse();
            left.append(&mut children);
            let name: Option<OwnedVariant> = self.call(&node, PROPERTIES, "Get", &(ACCESSIBLE, "Name")).ok();
            let name = name.and_then(|name| String::try_from(name).ok());
            let role = self.call(&node, ACCESSIBLE, "GetRole", &()).unwrap_or(0);
            found.push((node, name.unwrap_or_default(), role));
        }
        found
    }

    fn children(&self, node: &Node) -> Vec<Node> {
        self.call(node, ACCESSIBLE, "GetChildren", &()).unwrap_or_default()
    }

    fn call<B, R>(&self, node: &Node, interface: &str, method: &str, body: &B) -> zbus::Result<R>
    where
        B: serde::Serialize + zbus::wire::DynamicType,
        R: for<'d> zbus::wire::DynamicDeserialize<'d>,
    {
        self.runtime.block_on(call(&self.accessible, node, interface, method, body))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = self.session.kill();
        let _ = self.session.wait();
    }
}

async fn call<B, R>(bus: &Connection, (owner, path): &Node, interface: &str, method: &str, body: &B) -> zbus::Result<R>
where
    B: serde::Serialize + zbus::wire::DynamicType,
    R: for<'d> zbus::wire::DynamicDeserialize<'d>,
{
    bus.call_method(Some(owner.as_str()), path.as_str(), Some(interface), method, body).await?.body().deserialize()
}

/// Says that somebody needs the tree, and connects to where it is.
async fn accessible(session: &str) -> zbus::Result<Connection> {
    let session = zbus::connection::Builder::address(session).build().await?;
    let bus = ("org.a11y.Bus".to_owned(), OwnedObjectPath::try_from("/org/a11y/bus").unwrap());
    let address: String = call(&session, &bus, "org.a11y.Bus", "GetAddress", &()).await?;
    let enabled = ("org.a11y.Status", "IsEnabled", Variant::from(true));
    call::<_, ()>(&session, &bus, PROPERTIES, "Set", &enabled).await?;
    zbus::connection::Builder::address(address.as_str()).build().await
}
