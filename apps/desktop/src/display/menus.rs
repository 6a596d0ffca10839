//! What the toolbar offers, and what the numbers mean that the window gives back.

use machine::display::HeadInfo;
use machine::exchange::{ClipboardPolicy, ExchangeStatus, UsbDevice};
use machine::{Console, Drive, DriveKind, State};
use slint::{ModelRc, SharedString, VecModel};
use view_model::home::Mark;
use view_model::window::{Overlay, words};
use view_model::{Command, Message, Subject, Text};
use viewport::{Scaling, Standing};

use crate::words::say;
use crate::{StageButton, ToolLine};

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// A command.
    Command(Command),
    /// A command whose question has been answered.
    Confirmed(Command),
    /// The window shall close; the machine is to be shut down first, or not.
    Close(bool),
    /// Takes the question, or what was told, away.
    Dismiss,
    /// Sends keys that are pressed together.
    Keys(String),
    /// Asks for a medium, and puts it into this drive.
    Insert(String),
    /// Takes the medium out of this drive.
    Eject(String),
    /// Asks for a folder, and shares it.
    Share,
    /// Shares no folder any more.
    Unshare,
    /// Asks for a file, and sends it into the guest.
    SendFile,
    /// Gives a file up that is on its way into the guest.
    CancelFile(u64),
    /// Lets the clipboard go this way.
    Clipboard(ClipboardPolicy),
    /// Gives the guest a USB device, or takes it back.
    Usb(String, bool),
    /// Shows the picture so large.
    Scale(Scaling),
    /// Lets the guest follow the window's size, or not.
    Follow(bool),
    /// Opens the window of another head.
    Head(usize),
    /// Opens the terminal of a serial port.
    Port(usize),
    /// Something that only terminals do.
    Terminal(Deed),
}

/// What is done in a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Takes what is selected into the clipboard.
    Copy,
    /// Types what is in the clipboard.
    Paste,
    /// Selects everything.
    SelectAll,
    /// Empties it.
    Clear,
    /// Makes its letters larger or smaller by so much.
    Zoom(i8),
    /// Types how large it is.
    TellSize,
}

/// The first orders are the toolbars' own buttons.
const BUTTONS: [Order; 7] = [
    Order::Command(Command::CloseWindow),
    Order::Command(Command::Pause),
    Order::Command(Command::Restart),
    Order::Command(Command::Screenshot),
    Order::Command(Command::FullScreen),
    Order::Terminal(Deed::Copy),
    Order::Terminal(Deed::Paste),
];

/// The orders that are on offer, by their numbers.
#[derive(Debug, Default)]
pub struct Orders(Vec<Order>);

impl Orders {
    /// What the number stands for.
    pub fn get(&self, number: i32) -> Option<Order> {
        let number = usize::try_from(number).ok()?;
        if let Some(order) = BUTTONS.get(number) {
            return Some(order.clone());
        }
        self.0.get(number - BUTTONS.len()).cloned()
    }

    /// The number of an order.
    pub fn number(&mut self, order: Order) -> i32 {
        // Few are ever on offer: a number that is given stays.
        let index = self.0.iter().position(|other| *other == order).unwrap_or_else(|| {
            self.0.push(order);
            self.0.len() - 1
        });
        i32::try_from(index + BUTTONS.len()).unwrap_or(-1)
    }

    fn line(&mut self, text: impl Into<Message>, order: Order) -> ToolLine {
        ToolLine { order: self.number(order), ..read(text) }
    }

    fn command(&mut self, command: Command, subject: &Subject) -> ToolLine {
        // Without its keys: in this window they are the guest's.
        ToolLine { enabled: command.available(Some(subject)).is_ok(), ..self.line(command.label(), Order::Command(command)) }
    }

    /// What starts and ends the machine.
    pub fn power(&mut self, subject: &Subject) -> Vec<ToolLine> {
        if !subject.mark.state().is_live() {
            return [Command::Start, Command::StartDisposable].map(|command| self.command(command, subject)).to_vec();
        }
        let mut lines = [Command::ShutDown, Command::Restart].map(|command| self.command(command, subject)).to_vec();
        lines.push(ToolLine { apart: true, serious: true, ..self.command(Command::Reset, subject) });
        lines.push(ToolLine { serious: true, ..self.command(Command::ForceStop, subject) });
        lines
    }

    /// Who has the keyboard, and the keys that the host keeps for itself.
    pub fn keys(&mut self, captured: bool, chords: &[String]) -> Vec<ToolLine> {
        let mut lines = vec![ToolLine { checked: captured, ..self.line(Command::Capture.label(), Order::Command(Command::Capture)) }];
        for (index, chord) in chords.iter().enumerate() {
            lines.push(ToolLine { apart: index == 0, ..self.line(Message::said(chord_name(chord)), Order::Keys(chord.clone())) });
        }
        lines
    }

    /// The removable drives, with what is in them.
    pub fn drives(&mut self, drives: &[Drive], subject: &Subject) -> Vec<ToolLine> {
        let enabled = Command::Insert.available(Some(subject)).is_ok();
        let mut lines = Vec::new();
        for drive in drives.iter().filter(|drive| drive.removable) {
            let medium = drive.medium.as_ref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
            let detail = medium.as_ref().map_or_else(|| say(words::EMPTY), SharedString::from);
            lines.push(ToolLine { detail, apart: !lines.is_empty(), ..read(kind(drive.kind)) });
            let insert = if medium.is_some() { words::CHANGE } else { Command::Insert.label() };
            lines.push(ToolLine { enabled, ..self.line(insert, Order::Insert(drive.id.clone())) });
            if medium.is_some() {
                lines.push(ToolLine { enabled, ..self.line(Command::Eject.label(), Order::Eject(drive.id.clone())) });
            }
        }
        lines
    }

    /// The folder that is shared.
    pub fn share(&mut self, folder: Option<&str>, can_change: bool) -> Vec<ToolLine> {
        let mut lines = vec![folder.map_or_else(|| read(words::NO_SHARE), |folder| read(Message::said(folder)))];
        lines.push(ToolLine { apart: true, enabled: can_change, ..self.line(Command::Share.label(), Order::Share) });
        if folder.is_some() {
            lines.push(ToolLine { enabled: can_change, ..self.line(words::STOP_SHARING, Order::Unshare) });
        }
        if !can_change {
            lines.push(read(words::SHARE_LATER));
        }
        lines
    }

    /// What goes through the guest's agent: files, and the clipboard.
    pub fn agent(&mut self, status: &ExchangeStatus) -> Vec<ToolLine> {
        if !status.capabilities.agent {
            return Vec::new();
        }
        let silent = if status.agent { SharedString::default() } else { say(words::NO_AGENT) };
        let mut lines =
            vec![ToolLine { apart: true, enabled: status.agent, detail: silent, ..self.line(words::SEND_FILE, Order::SendFile) }];
        lines.push(ToolLine { apart: true, ..read(words::CLIPBOARD) });
        let ways = [
            (words::CLIPBOARD_BOTH, ClipboardPolicy::Both),
            (words::CLIPBOARD_TO_GUEST, ClipboardPolicy::ToGuest),
            (words::CLIPBOARD_TO_HOST, ClipboardPolicy::ToHost),
            (words::CLIPBOARD_OFF, ClipboardPolicy::Off),
        ];
        lines.extend(ways.map(|(text, way)| ToolLine { checked: way == status.policy, ..self.line(text, Order::Clipboard(way)) }));
        lines
    }

    /// The USB devices of this computer; those that the guest has are checked.
    pub fn usb(&mut self, status: &ExchangeStatus, devices: &[UsbDevice]) -> Vec<ToolLine> {
        if status.capabilities.usb == 0 {
            return Vec::new();
        }
        if devices.is_empty() {
            return vec![read(words::NO_USB)];
        }
        let full =
            devices.iter().filter(|device| device.attached).count() >= usize::try_from(status.capabilities.usb).unwrap_or(usize::MAX);
        let line = |device: &UsbDevice| ToolLine {
            checked: device.attached,
            enabled: device.attached || (device.refused.is_none() && !full),
            detail: device.refused.as_deref().unwrap_or_default().into(),
            ..self.line(Message::said(device.name.clone()), Order::Usb(device.id.clone(), !device.attached))
        };
        devices.iter().map(line).collect()
    }

    /// How large the picture is shown, whether the guest follows, and the other windows of the machine.
    pub fn display(&mut self, scaling: Scaling, standing: Standing, own: usize, heads: &[HeadInfo], ports: &[Console]) -> Vec<ToolLine> {
        let ways = [(words::FIT, Scaling::Fit), (words::INTEGER, Scaling::Integer), (words::ACTUAL, Scaling::Actual)];
        let mut lines: Vec<ToolLine> =
            ways.into_iter().map(|(text, way)| ToolLine { checked: way == scaling, ..self.line(text, Order::Scale(way)) }).collect();
        let follows = standing != Standing::Unwanted;
        let detail = match standing {
            Standing::KeepsItsSize => say(words::KEEPS),
            Standing::Cannot => say(words::CANNOT),
            Standing::Open | Standing::Follows | Standing::Unwanted => SharedString::default(),
        };
        lines.push(ToolLine {
            checked: follows,
            apart: true,
            enabled: standing != Standing::Cannot,
            detail,
            ..self.line(words::RESIZE, Order::Follow(!follows))
        });
        if heads.len() > 1 {
            for (place, head) in heads.iter().enumerate() {
                let (text, checked) = (words::DISPLAY.with([&(head.index + 1)]), head.index == own);
                lines.push(ToolLine { checked, apart: place == 0, ..self.line(text, Order::Head(head.index)) });
            }
        }
        lines.extend(self.ports(ports, None));
        lines
    }

    /// The serial ports; `own` is the one whose window it is.
    fn ports(&mut self, ports: &[Console], own: Option<usize>) -> Vec<ToolLine> {
        let line = |(place, port): (usize, &Console)| {
            let (text, checked) = (words::SERIAL.with([&(port.index + 1)]), own == Some(port.index));
            ToolLine { checked, apart: place == 0, ..self.line(text, Order::Port(port.index)) }
        };
        ports.iter().enumerate().map(line).collect()
    }

    /// What a terminal offers beside its toolbar, and the other windows of the machine.
    pub fn terminal(&mut self, open: bool, own: usize, displays: usize, ports: &[Console]) -> Vec<ToolLine> {
        let mut lines: Vec<ToolLine> = [(words::SELECT_ALL, Deed::SelectAll), (words::CLEAR, Deed::Clear)]
            .map(|(text, deed)| self.line(text, Order::Terminal(deed)))
            .into();
        lines.push(ToolLine { apart: true, ..self.line(words::LARGER, Order::Terminal(Deed::Zoom(1))) });
        lines.push(self.line(words::SMALLER, Order::Terminal(Deed::Zoom(-1))));
        lines.push(ToolLine { apart: true, enabled: open, ..self.line(words::TELL_SIZE, Order::Terminal(Deed::TellSize)) });
        for head in 0..displays {
            let text = words::DISPLAY.with([&(head + 1)]);
            lines.push(ToolLine { apart: head == 0, ..self.line(text, Order::Head(head)) });
        }
        if ports.len() > 1 {
            lines.extend(self.ports(ports, Some(own)));
        }
        lines
    }

    /// The buttons over the picture.
    pub fn over_picture(&mut self, overlay: &Overlay) -> Vec<StageButton> {
        overlay.commands.iter().map(|command| self.button(command.label(), Order::Command(*command))).collect()
    }

    /// A button.
    pub fn button(&mut self, text: Text, order: Order) -> StageButton {
        let label = say(text);
        // The question that an ellipsis announces has been asked by then.
        let label = if matches!(order, Order::Confirmed(_)) { label.trim_end_matches([' ', '…']).into() } else { label };
        StageButton { text: label, order: self.number(order) }
    }
}

/// A line that is only read.
fn read(text: impl Into<Message>) -> ToolLine {
    ToolLine { text: say(text), detail: SharedString::default(), order: -1, enabled: true, checked: false, serious: false, apart: false }
}

/// `ctrl-alt-delete` as people write it.
fn chord_name(chord: &str) -> String {
    let key = |name: &str| {
        let mut letters = name.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>()).unwrap_or_default()
    };
    chord.split('-').map(key).collect::<Vec<_>>().join(" + ")
}

/// What a drive is called.
const fn kind(kind: DriveKind) -> Text {
    match kind {
        DriveKind::Cd => words::CD,
        DriveKind::Floppy => words::FLOPPY,
        DriveKind::Disk | DriveKind::Other => words::REMOVABLE,
    }
}

/// What a command is asked of, in this state.
pub fn subject(state: State, capabilities: Option<machine::Capabilities>, working: bool) -> Subject {
    Subject { mark: Mark::State(state), capabilities, registered: false, working }
}

/// A list as the window takes it.
pub fn list<T: Clone + 'static>(entries: Vec<T>) -> ModelRc<T> {
    ModelRc::new(VecModel::from(entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_what_they_are() {
        let mut orders = Orders::default();
        let one = orders.number(Order::Eject("cd".into()));
        let other = orders.number(Order::Share);
        assert_eq!(orders.number(Order::Eject("cd".into())), one);
        assert_eq!((orders.get(one), orders.get(other)), (Some(Order::Eject("cd".into())), Some(Order::Share)));
        assert_eq!(orders.get(1), Some(Order::Command(Command::Pause)));
        assert_eq!((orders.get(-1), orders.get(99)), (None, None));
    }

    #[test]
    fn a_running_machine_is_shut_down_and_a_stopped_one_started() {
        let mut orders = Orders::default();
        let running = orders.power(&subject(State::Running, None, false));
        assert!(running.iter().all(|line| line.enabled) && running[0].text == "Shut down", "{running:?}");
        let stopped = orders.power(&subject(State::Stopped, None, false));
        assert_eq!(stopped[0].text, "Start");
        let paused = orders.power(&subject(State::Paused, None, false));
        assert!(!paused[0].enabled, "it would not hear");
    }

    #[test]
    fn usb_devices_are_offered_as_many_as_the_machine_can_have() {
        let device = |id: &str, attached: bool, refused: Option<&str>| UsbDevice {
            id: id.into(),
            vendor: 1,
            product: 2,
            name: format!("Device {id}"),
            serial: None,
            attached,
            refused: refused.map(str::to_owned),
        };
        let devices = [device("1-1", true, None), device("1-2", false, None), device("1-3", false, Some("A hub"))];
        let mut status = ExchangeStatus::default();
        let mut orders = Orders::default();
        assert!(orders.usb(&status, &devices).is_empty(), "a machine without a port for them has no menu");
        status.capabilities.usb = 2;
        let lines = orders.usb(&status, &devices);
        assert_eq!(
            lines.iter().map(|line| (line.checked, line.enabled)).collect::<Vec<_>>(),
            [(true, true), (false, true), (false, false)]
        );
        assert_eq!(orders.get(lines[0].order), Some(Order::Usb("1-1".into(), false)));
        status.capabilities.usb = 1;
        assert!(!orders.usb(&status, &devices)[1].enabled, "it has no port left");
        assert_eq!(orders.usb(&status, &[])[0].order, -1);
    }

    #[test]
    fn files_are_sent_where_an_agent_answers_and_the_clipboards_way_is_checked() {
        let mut status = ExchangeStatus { policy: ClipboardPolicy::ToGuest, ..ExchangeStatus::default() };
        let mut orders = Orders::default();
        assert!(orders.agent(&status).is_empty());
        status.capabilities.agent = true;
        let lines = orders.agent(&status);
        assert!(!lines[0].enabled && !lines[0].detail.is_empty());
        let checked: Vec<_> = lines.iter().filter(|line| line.checked).map(|line| orders.get(line.order)).collect();
        assert_eq!(checked, [Some(Order::Clipboard(ClipboardPolicy::ToGuest))]);
        status.agent = true;
        assert!(orders.agent(&status)[0].enabled);
    }

    #[test]
    fn keys_read_as_keyboards_say_them() {
        assert_eq!(chord_name("ctrl-alt-f1"), "Ctrl + Alt + F1");
    }
}
