//! A console: pixels, and the keyboard, mouse and touch screen that belong to them.

use crate::connection::{Display, Object, number, text};
use crate::error::Result;
use crate::painter::Painter;
use crate::service::{Task, register, serve};
use async_trait::async_trait;
use machine::display::{Button, Control, Frames, HeadInfo, Input, Leds, Size, SizeRequest, TouchKind, frames};
use std::sync::Arc;

const CONSOLE: &str = "org.qemu.Display1.Console";
const KEYBOARD: &str = "org.qemu.Display1.Keyboard";
const MOUSE: &str = "org.qemu.Display1.Mouse";
const MULTI_TOUCH: &str = "org.qemu.Display1.MultiTouch";

/// What a console shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleKind {
    /// A head of a graphics card.
    Graphic,
    /// A terminal that QEMU draws.
    Text,
}

/// A console of a display.
#[derive(Debug, Clone)]
pub struct Console {
    display: Display,
    path: String,
    id: u32,
    kind: ConsoleKind,
    label: String,
    head: u32,
    device: String,
    size: Option<Size>,
}

/// The heads among the consoles.
pub(crate) fn heads(consoles: &[Console]) -> Vec<HeadInfo> {
    let graphic = consoles.iter().filter(|console| console.is_graphic());
    let info = |(index, console): (usize, &Console)| HeadInfo {
        index,
        label: console.label.clone(),
        head: console.head,
        device: console.device.clone(),
        size: console.size,
    };
    graphic.enumerate().map(info).collect()
}

impl Console {
    /// The console among the objects of a display, if it is one.
    pub(crate) fn found(display: &Display, path: &str, object: &Object) -> Option<Self> {
        let id = path.strip_prefix("/org/qemu/Display1/Console_")?.parse().ok()?;
        let properties = object.get(CONSOLE)?;
        let kind = if text(properties, "Type") == "Text" { ConsoleKind::Text } else { ConsoleKind::Graphic };
        Some(Self {
            display: display.clone(),
            path: path.to_owned(),
            id,
            kind,
            label: text(properties, "Label"),
            head: number(properties, "Head"),
            device: text(properties, "DeviceAddress"),
            size: Size::new(number(properties, "Width"), number(properties, "Height")),
        })
    }

    /// Its number.
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// What it shows.
    pub const fn kind(&self) -> ConsoleKind {
        self.kind
    }

    /// Whether it is a head of a graphics card.
    pub(crate) fn is_graphic(&self) -> bool {
        self.kind == ConsoleKind::Graphic
    }

    /// What it is, for people.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Begins to watch it. The display sends until what this returns is dropped.
    ///
    /// # Errors
    /// Where the display does not let.
    pub async fn watch(&self) -> Result<(Frames, Arc<dyn Control>)> {
        let messages = register(self.display.connection(), &self.path, CONSOLE, "RegisterListener", "send pictures").await?;
        let (source, frames) = frames();
        let listener = Task::spawn(serve(messages, Painter::new(source)));
        Ok((frames, Arc::new(Watched { console: self.clone(), _listener: listener })))
    }
}

/// A console that is watched.
#[derive(Debug)]
struct Watched {
    console: Console,
    _listener: Task,
}

impl Watched {
    async fn call<B>(&self, interface: &'static str, method: &'static str, what: &'static str, body: &B) -> machine::Result<()>
    where
        B: zbus::export::serde::Serialize + zbus::DynamicType,
    {
        Ok(self.console.display.call(&self.console.path, interface, method, what, body).await?)
    }
}

const fn button_number(button: Button) -> u32 {
    match button {
        Button::Left => 0,
        Button::Middle => 1,
        Button::Right => 2,
        Button::WheelUp => 3,
        Button::WheelDown => 4,
        Button::Side => 5,
        Button::Extra => 6,
    }
}

const fn touch_number(kind: TouchKind) -> u32 {
    match kind {
        TouchKind::Begin => 0,
        TouchKind::Update => 1,
        TouchKind::End => 2,
        TouchKind::Cancel => 3,
    }
}

#[async_trait]
impl Control for Watched {
    async fn send(&self, input: Input) -> machine::Result<()> {
        let way = |down| if down { "Press" } else { "Release" };
        match input {
            Input::Key { key, down } => self.call(KEYBOARD, way(down), "take a key", &u32::from(key.qnum())).await,
            Input::Motion { x, y } => self.call(MOUSE, "RelMotion", "move the mouse", &(x, y)).await,
            Input::Position { x, y } => self.call(MOUSE, "SetAbsPosition", "place the pointer", &(x, y)).await,
            Input::Button { button, down } => self.call(MOUSE, way(down), "take a button", &button_number(button)).await,
            Input::Touch { kind, slot, x, y } => {
                self.call(MULTI_TOUCH, "SendEvent", "take a touch", &(touch_number(kind), slot, x, y)).await
            }
        }
    }

    async fn request_size(&self, request: SizeRequest) -> machine::Result<()> {
        let (width_mm, height_mm) = request.millimetres.unwrap_or_default();
        let (x, y) = request.position;
        let values = (width_mm, height_mm, x, y, request.size.width, request.size.height);
        self.call(CONSOLE, "SetUIInfo", "change its size", &values).await
    }

    async fn takes_positions(&self) -> machine::Result<bool> {
        Ok(self.console.display.property(&self.console.path, MOUSE, "IsAbsolute", "say what the mouse can do").await?)
    }

    async fn leds(&self) -> machine::Result<Leds> {
        let bits: u32 = self.console.display.property(&self.console.path, KEYBOARD, "Modifiers", "say what the keyboard shows").await?;
        Ok(Leds { scroll: bits & 1 != 0, num: bits & 2 != 0, caps: bits & 4 != 0 })
    }

    /// QEMU looks at what devices have drawn as soon as somebody new listens, after it has answered what had come before. A second answer
    /// is given after that.
    async fn refreshed(&self) -> machine::Result<()> {
        for _ in 0..2 {
            let _: u32 = self.console.display.property(&self.console.path, CONSOLE, "Width", "answer").await?;
        }
        Ok(())
    }
}
