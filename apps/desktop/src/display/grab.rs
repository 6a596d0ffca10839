//! What a window takes of the host while the guest has keyboard and mouse.

#![allow(unsafe_code, reason = "Xlib is a C library; nothing else can take the keys of a window manager on X11")]

use std::cell::RefCell;

use slint::winit_030::winit::dpi::PhysicalPosition;
use slint::winit_030::winit::event::{DeviceEvent, DeviceId};
use slint::winit_030::winit::event_loop::ActiveEventLoop;
use slint::winit_030::winit::raw_window_handle::{HasDisplayHandle as _, HasWindowHandle as _, RawDisplayHandle, RawWindowHandle};
use slint::winit_030::winit::window::{CursorGrabMode, Window};
use slint::winit_030::{CustomApplicationHandler, EventResult};

/// Is told how the mouse moves, to the right and down.
type Listener = Box<dyn Fn(f64, f64)>;

thread_local! {
    /// Whoever has the pointer. There is one pointer, and so one window that can have it.
    static LISTENER: RefCell<Option<Listener>> = const { RefCell::new(None) };
}

/// Tells the window that has the pointer how the mouse moves, wherever the pointer is. To be given to Slint's backend before it starts:
/// movements come to nobody else.
#[derive(Debug, Default)]
pub struct MouseMotion;

impl CustomApplicationHandler for MouseMotion {
    fn device_event(&mut self, _: &ActiveEventLoop, _: DeviceId, event: DeviceEvent) -> EventResult {
        if let DeviceEvent::MouseMotion { delta: (x, y) } = event {
            LISTENER.with_borrow(|listener| {
                if let Some(listener) = listener {
                    listener(x, y);
                }
            });
        }
        EventResult::Propagate
    }
}

/// Takes the pointer: it stays where it is, and `moved` is told how the mouse moves.
pub fn take_pointer(window: &Window, moved: impl Fn(f64, f64) + 'static) {
    // X11 cannot lock a pointer, only keep it in the window; it is brought back to the middle as it moves.
    if window.set_cursor_grab(CursorGrabMode::Locked).or_else(|_| window.set_cursor_grab(CursorGrabMode::Confined)).is_err() {
        tracing::warn!("The window system does not give the pointer away");
    }
    LISTENER.set(Some(Box::new(moved)));
}

/// Brings a pointer that is only kept in the window back to its middle, so that it can go on moving.
pub fn recentre(window: &Window) {
    let size = window.inner_size();
    let middle = PhysicalPosition::new(size.width / 2, size.height / 2);
    if let Err(error) = window.set_cursor_position(middle) {
        tracing::debug!(%error, "the pointer stays where it is");
    }
}

/// Gives the pointer back.
pub fn give_pointer_back(window: &Window) {
    LISTENER.set(None);
    if let Err(error) = window.set_cursor_grab(CursorGrabMode::None) {
        tracing::debug!(%error, "the pointer was not taken");
    }
}

/// The keys that the desktop takes for itself otherwise. Dropping it gives them back.
#[derive(Debug)]
pub struct Keyboard(Option<x11::Grab>);

impl Keyboard {
    /// Takes them, where the window system lets a window.
    pub fn take(window: &Window) -> Self {
        let handles = (window.display_handle().map(|handle| handle.as_raw()), window.window_handle().map(|handle| handle.as_raw()));
        let (Ok(RawDisplayHandle::Xlib(display)), Ok(RawWindowHandle::Xlib(window))) = handles else {
            tracing::debug!("The desktop keeps its own keys on this window system");
            return Self(None);
        };
        Self(display.display.and_then(|display| x11::Grab::take(display, window.window)))
    }

    /// Whether they were given.
    pub const fn is_taken(&self) -> bool {
        self.0.is_some()
    }
}

mod x11 {
    use std::ffi::c_void;
    use std::ptr::NonNull;

    use x11_dl::xlib::{CurrentTime, GrabModeAsync, GrabSuccess, True, Xlib};

    /// All keys of an X server.
    pub struct Grab {
        xlib: Xlib,
        display: NonNull<c_void>,
    }

    impl std::fmt::Debug for Grab {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Grab")
        }
    }

    impl Grab {
        /// Takes them for a window of the toolkit's own connection: its events go on coming as they did.
        pub fn take(display: NonNull<c_void>, window: u64) -> Option<Self> {
            let xlib = Xlib::open().ok()?;
            // SAFETY: the toolkit's connection lives as long as its event loop, in whose thread this runs and which this does not outlive.
            let result = unsafe { (xlib.XGrabKeyboard)(display.as_ptr().cast(), window, True, GrabModeAsync, GrabModeAsync, CurrentTime) };
            if result != GrabSuccess {
                tracing::debug!(result, "another program has the keyboard");
                return None;
            }
            Some(Self { xlib, display })
        }
    }

    impl Drop for Grab {
        fn drop(&mut self) {
            // SAFETY: as above.
            unsafe {
                (self.xlib.XUngrabKeyboard)(self.display.as_ptr().cast(), CurrentTime);
                (self.xlib.XFlush)(self.display.as_ptr().cast());
            }
        }
    }
}
