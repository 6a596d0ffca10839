//! What a person does in a machine's window, on its way to the guest.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use keymap::Key;
use machine::display::{Button, Control, Input};
use slint::ComponentHandle as _;
use slint::winit_030::winit::event::{ElementState, WindowEvent};
use slint::winit_030::winit::keyboard::PhysicalKey;
use slint::winit_030::{EventResult, WinitWindowAccessor as _};
use tokio::sync::mpsc;
use viewport::{Effect, Grab, Happening};

use super::grab::{self, Keyboard};
use super::screen::MachineScreen;
use crate::machine_window::OfMachine as _;

/// Logical pixels that Slint makes of a wheel's notch.
const NOTCH: f64 = 60.0;

/// How long keys that are sent together are held.
const HELD: Duration = Duration::from_millis(60);

impl MachineScreen {
    /// An event of the window, before the toolkit has it.
    pub(super) fn window_event(self: &Rc<Self>, event: &WindowEvent) -> EventResult {
        match event {
            WindowEvent::RedrawRequested => {
                if self.waits() {
                    self.was_drawn();
                }
                EventResult::Propagate
            }
            WindowEvent::Focused(has) => {
                self.session.has_keyboard(*has);
                if !*has {
                    self.happened(Happening::FocusLost);
                }
                EventResult::Propagate
            }
            WindowEvent::DroppedFile(path) => {
                self.session.send(path.clone());
                EventResult::PreventDefault
            }
            WindowEvent::KeyboardInput { event, is_synthetic, .. } if self.window.get_guest_has_keys() => {
                let down = event.state == ElementState::Pressed;
                // What was pressed in another window is not the guest's.
                if (!*is_synthetic || !down)
                    && let Some(key) = key_of(event.physical_key)
                {
                    self.stage_focus(true);
                    self.happened(Happening::Key { key, down });
                }
                EventResult::PreventDefault
            }
            _ => EventResult::Propagate,
        }
    }

    /// The stage has the keyboard, or no longer.
    pub(super) fn stage_focus(self: &Rc<Self>, has: bool) {
        let known = self.inner.borrow().seat.is_focused();
        if has && !known {
            self.happened(Happening::FocusGained);
            self.ask_for_positions();
        } else if !has && known {
            self.happened(Happening::FocusLost);
        }
    }

    /// The pointer is at this point of the stage, in logical pixels.
    pub(super) fn moved(self: &Rc<Self>, x: f32, y: f32) {
        let (left, top) = (f64::from(self.window.get_stage_x()), f64::from(self.window.get_stage_y()));
        let canvas = self.inner.borrow().canvas;
        if let Some(canvas) = canvas {
            let (x, y) = canvas.physical(f64::from(x) + left, f64::from(y) + top);
            self.happened(Happening::Pointer { x, y });
            self.place_pointer();
        }
    }

    /// The pointer is elsewhere.
    pub(super) fn left_stage(self: &Rc<Self>) {
        self.happened(Happening::Pointer { x: -1.0, y: -1.0 });
        self.place_pointer();
    }

    /// A button went down or up over the stage.
    pub(super) fn button(self: &Rc<Self>, button: i32, down: bool) {
        let button = match button {
            0 => Button::Left,
            1 => Button::Middle,
            2 => Button::Right,
            3 => Button::Side,
            4 => Button::Extra,
            _ => return,
        };
        if down {
            self.stage_focus(true);
            self.ask_for_positions();
        }
        self.happened(Happening::Button { button, down });
    }

    /// The wheel was turned.
    pub(super) fn wheel(self: &Rc<Self>, by: f32) {
        self.happened(Happening::Wheel(f64::from(by) / NOTCH));
    }

    /// Gives keyboard and mouse to the guest, or takes them back.
    pub(super) fn toggle_capture(self: &Rc<Self>) {
        self.window.invoke_take_keys();
        if !self.inner.borrow().seat.is_focused() {
            self.happened(Happening::FocusGained);
        }
        self.happened(Happening::Toggle);
    }

    /// Everything that is held goes up, and the host has keyboard and mouse again.
    pub(super) fn let_go(self: &Rc<Self>) {
        self.happened(Happening::FocusLost);
    }

    /// Fills the screen, or no longer.
    pub(super) fn set_full_screen(self: &Rc<Self>, full: bool) {
        self.inner.borrow_mut().full_screen = full;
        self.window.window().set_fullscreen(full);
        self.window.set_fills_screen(full);
        self.stage_focus(true);
        self.happened(Happening::FullScreen(full));
    }

    /// Presses keys together, whether or not the window has the keyboard.
    pub(super) fn send_chord(&self, chord: &str) {
        let (Ok(keys), Some(windows)) = (keymap::chord(chord), self.windows.upgrade()) else { return };
        let Some(control) = self.inner.borrow().control.clone() else { return };
        windows.engine().spawn(async move {
            let press = |down: bool| keys.iter().map(move |key| Input::Key { key: *key, down });
            for input in press(true) {
                control.send(input).await?;
            }
            // Guests that look at their keyboard now and then must see them down.
            tokio::time::sleep(HELD).await;
            for input in press(false).rev() {
                control.send(input).await?;
            }
            Ok::<_, machine::Error>(())
        });
    }

    /// Asks whether the guest takes positions: its driver may have come since.
    pub(super) fn ask_for_positions(self: &Rc<Self>) {
        let Some(windows) = self.windows.upgrade() else { return };
        let Some(control) = self.inner.borrow().control.clone() else { return };
        let screen = Rc::downgrade(self);
        windows.engine().ask(async move { control.takes_positions().await }, move |answer| {
            let (Ok(takes), Some(screen)) = (answer, screen.upgrade()) else { return };
            if screen.inner.borrow().seat.takes_positions() != takes {
                screen.happened(Happening::TakesPositions(takes));
            }
        });
    }

    /// Lets the seat decide what becomes of something, and does that.
    pub(super) fn happened(self: &Rc<Self>, what: Happening) {
        let effects = {
            let mut inner = self.inner.borrow_mut();
            let placement = inner.placement;
            inner.seat.happened(what, placement)
        };
        for effect in effects {
            match effect {
                Effect::Send(input) => {
                    if let Some(sender) = &self.inner.borrow().input {
                        // Nobody takes it where the display has gone.
                        let _ = sender.send(input);
                    }
                }
                Effect::Grab(grab) => self.take(grab),
                Effect::Leave => self.window.invoke_leave_keys(),
            }
        }
    }

    /// Takes of the host what the guest shall have, and gives back the rest.
    fn take(self: &Rc<Self>, wanted: Grab) {
        let window = self.window.window();
        let has_keyboard = self.inner.borrow().keyboard.is_some();
        if wanted.keyboard != has_keyboard {
            let keyboard = wanted.keyboard.then(|| window.with_winit_window(Keyboard::take)).flatten();
            tracing::debug!(wanted = wanted.keyboard, taken = keyboard.as_ref().is_some_and(Keyboard::is_taken), "keyboard");
            self.inner.borrow_mut().keyboard = keyboard;
        }
        if wanted.pointer {
            let screen = Rc::downgrade(self);
            window.with_winit_window(|window| {
                grab::take_pointer(window, move |x, y| {
                    if let Some(screen) = screen.upgrade() {
                        screen.happened(Happening::Moved { x, y });
                        screen.window.window().with_winit_window(grab::recentre);
                    }
                });
            });
        } else {
            window.with_winit_window(grab::give_pointer_back);
        }
        self.window.set_pointer_hidden(wanted.pointer);
        self.window.set_captured(wanted.keyboard);
        self.refresh();
    }
}

/// The key, where guests know it.
fn key_of(key: PhysicalKey) -> Option<Key> {
    match key {
        // The names of these codes are those of W3C's, by design of both.
        PhysicalKey::Code(code) => Key::from_code(&format!("{code:?}")),
        PhysicalKey::Unidentified(_) => None,
    }
}

/// Sends what a person does, in that order. What waits while the backend is busy is put together: of positions only the last counts.
pub async fn send(control: Arc<dyn Control>, mut inputs: mpsc::UnboundedReceiver<Input>) {
    let mut next = inputs.recv().await;
    while let Some(mut input) = next.take() {
        let follower = loop {
            let Ok(following) = inputs.try_recv() else { break None };
            match together(input, following) {
                Some(both) => input = both,
                None => break Some(following),
            }
        };
        if let Err(error) = control.send(input).await {
            tracing::debug!(%error, ?input, "the guest does not take it");
        }
        next = match follower {
            Some(input) => Some(input),
            None => inputs.recv().await,
        };
    }
}

/// Two that follow each other, as one, where that is the same to a guest.
fn together(one: Input, two: Input) -> Option<Input> {
    match (one, two) {
        (Input::Position { .. }, Input::Position { .. }) => Some(two),
        (Input::Motion { x, y }, Input::Motion { x: more_x, y: more_y }) => {
            Some(Input::Motion { x: x.saturating_add(more_x), y: y.saturating_add(more_y) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slint::winit_030::winit::keyboard::KeyCode;

    #[test]
    fn what_the_window_system_calls_keys_are_keys() {
        let known = |code| key_of(PhysicalKey::Code(code)).map(|key| key.name());
        assert_eq!(known(KeyCode::KeyA), Some("a"));
        assert_eq!(known(KeyCode::SuperLeft), Some("meta"));
        assert_eq!(known(KeyCode::ArrowDown), Some("down"));
        assert_eq!(known(KeyCode::NumpadEnter), Key::from_evdev(96).map(Key::name));
        assert_eq!(known(KeyCode::ControlRight), Some("rightctrl"));
    }

    #[test]
    fn only_what_is_the_same_to_a_guest_is_put_together() {
        let at = |x| Input::Position { x, y: 1 };
        let click = Input::Button { button: Button::Left, down: true };
        assert_eq!(together(at(1), at(2)), Some(at(2)));
        assert_eq!(together(Input::Motion { x: 1, y: 2 }, Input::Motion { x: 3, y: -5 }), Some(Input::Motion { x: 4, y: -3 }));
        assert_eq!((together(at(1), click), together(click, click)), (None, None));
    }
}
