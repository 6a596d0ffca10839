//! The guest's picture without the toolkit, on X11: a window of its own over the stage, which the X server draws from the memory that the
//! guest's display is in. No pixel is copied or converted here, and only what was damaged is drawn.
//!
//! That works while the picture is shown pixel for pixel and nothing is drawn over it; otherwise the window is taken away, and the toolkit
//! draws the picture as it draws everything.
//!
//! The memory belongs to a process that is not trusted and may be made smaller at any moment. X servers that take descriptors are made for
//! that (MIT-SHM 1.2); here it is read with `pread`, as [`Surface`] says.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use machine::display::{Cursor, Format, Rect, Surface};
use slint::winit_030::winit::raw_window_handle::{HasWindowHandle as _, RawWindowHandle};
use slint::winit_030::winit::window::Window;
use x11rb::connection::Connection as _;
use x11rb::protocol::Event;
use x11rb::protocol::shm::{ConnectionExt as _, Seg};
use x11rb::protocol::xfixes::{ConnectionExt as _, Region};
use x11rb::protocol::xproto::{
    ColormapAlloc, ConfigureWindowAux, ConnectionExt as _, CreateGCAux, CreateWindowAux, Gcontext, ImageFormat, ImageOrder, VisualClass,
    Visualid, WindowClass,
};
use x11rb::protocol::{shape, xfixes};
use x11rb::rust_connection::RustConnection;

/// Bits of a pixel that are colour.
const DEPTH: u8 = 24;
/// Bytes of a pixel.
const BYTES: usize = 4;
/// The most that a pointer may be wide or high: its pixels go through the connection.
const LARGEST_POINTER: u32 = 256;

/// Why it cannot go on: the connection is lost, or the X server refuses something.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The connection.
    #[error("The X server is gone")]
    Connection(#[from] x11rb::errors::ConnectionError),
    /// An answer.
    #[error("The X server refuses")]
    Reply(#[from] x11rb::errors::ReplyError),
    /// No number is left for anything more.
    #[error("The X server gives no more numbers")]
    Numbers(#[from] x11rb::errors::ReplyOrIdError),
    /// The memory is not there any more.
    #[error("The guest's picture is gone")]
    Memory(#[from] io::Error),
    /// What was drawn last was not.
    #[error("The X server did not draw: {0}")]
    Drawing(String),
}

/// The pointer over the picture: its shape, and where its upper left corner is.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// Its shape.
    pub cursor: Arc<Cursor>,
    /// Pixels of the picture from the left.
    pub x: i64,
    /// Pixels from above.
    pub y: i64,
}

impl Drawn {
    /// What of the picture it covers.
    fn covers(&self, surface: &Surface) -> Option<Rect> {
        let fits = self.cursor.width <= LARGEST_POINTER && self.cursor.height <= LARGEST_POINTER;
        fits.then(|| Rect::within(surface.size(), self.x, self.y, self.cursor.width.into(), self.cursor.height.into())).flatten()
    }
}

/// The window, and what it shows.
pub struct Direct {
    x: RustConnection,
    window: u32,
    gc: Gcontext,
    place: Option<(i16, i16, u16, u16)>,
    source: Option<Source>,
    pointer: Option<Drawn>,
    /// Whether something was sent that may not have been drawn yet.
    drawing: bool,
}

/// Memory that the X server knows.
struct Source {
    segment: Seg,
    surface: Arc<Surface>,
    offset: u32,
    /// Pixels from row to row.
    pitch: u16,
}

/// Whether a picture can be drawn so, whatever its place.
pub fn is_drawable(surface: &Surface) -> bool {
    layout(surface).is_some()
}

/// Where the picture begins in its memory, and the pixels from row to row, as X counts them.
fn layout(surface: &Surface) -> Option<(u32, u16)> {
    let (_, offset, stride) = surface.memory()?;
    let pitch = u16::try_from(stride / BYTES).ok()?;
    let is_small = surface.size().width <= u16::MAX.into() && surface.size().height <= u16::MAX.into();
    (surface.format() == Format::Bgrx && stride % BYTES == 0 && is_small).then_some((u32::try_from(offset).ok()?, pitch))
}

impl Direct {
    /// A window in that of the toolkit, as yet without a place; `None` where it is not X's, or the X server is elsewhere or too old.
    pub fn new(window: &Window) -> Option<Self> {
        let parent = match window.window_handle().ok()?.as_raw() {
            RawWindowHandle::Xlib(handle) => u32::try_from(handle.window).ok()?,
            RawWindowHandle::Xcb(handle) => handle.window.get(),
            _ => return None,
        };
        match Self::in_window(parent) {
            Ok(direct) => direct,
            Err(error) => {
                tracing::debug!(%error, "pictures go through the toolkit");
                None
            }
        }
    }

    fn in_window(parent: u32) -> Result<Option<Self>, Box<dyn std::error::Error>> {
        let (x, screen) = x11rb::connect(None)?;
        let shm = x.shm_query_version()?.reply()?;
        let takes_descriptors = (shm.major_version, shm.minor_version) >= (1, 2);
        let Some(visual) = visual(&x, screen).filter(|_| takes_descriptors) else { return Ok(None) };
        x.xfixes_query_version(5, 0)?.reply()?;
        let (colormap, window, gc) = (x.generate_id()?, x.generate_id()?, x.generate_id()?);
        let root = x.setup().roots.get(screen).ok_or("there is no screen")?.root;
        x.create_colormap(ColormapAlloc::NONE, colormap, root, visual)?.check()?;
        let attributes = CreateWindowAux::new().colormap(colormap).border_pixel(0);
        x.create_window(DEPTH, window, parent, 0, 0, 1, 1, 0, WindowClass::INPUT_OUTPUT, visual, &attributes)?.check()?;
        // The pointer is over the toolkit's window as if this one were not there.
        let nothing: Region = x.generate_id()?;
        x.xfixes_create_region(nothing, &[])?;
        x.xfixes_set_window_shape_region(window, shape::SK::INPUT, 0, 0, nothing)?.check()?;
        xfixes::destroy_region(&x, nothing)?;
        x.create_gc(gc, window, &CreateGCAux::new().graphics_exposures(0))?.check()?;
        Ok(Some(Self { x, window, gc, place: None, source: None, pointer: None, drawing: false }))
    }

    /// Whether it shows anything.
    pub const fn is_shown(&self) -> bool {
        self.place.is_some()
    }

    /// Shows a picture at a place of the toolkit's window, in physical pixels.
    ///
    /// # Errors
    /// [`Refused`]: then the toolkit has to draw.
    pub fn show(&mut self, surface: &Arc<Surface>, x: i16, y: i16, pointer: Option<Drawn>) -> Result<(), Refused> {
        let size = surface.size();
        let (width, height) = (u16::try_from(size.width).unwrap_or(u16::MAX), u16::try_from(size.height).unwrap_or(u16::MAX));
        let is_new = !self.source.as_ref().is_some_and(|source| Arc::ptr_eq(&source.surface, surface));
        if is_new {
            self.attach(surface)?;
        }
        let place = Some((x, y, width, height));
        let moves = self.place != place;
        if moves {
            let at = ConfigureWindowAux::new().x(i32::from(x)).y(i32::from(y)).width(u32::from(width)).height(u32::from(height));
            self.x.configure_window(self.window, &at)?;
            if self.place.is_none() {
                self.x.map_window(self.window)?;
            }
            self.place = place;
        }
        if moves || is_new {
            self.pointer = pointer;
            return self.draw(&[size.whole()]);
        }
        self.point(pointer)
    }

    /// Takes it away.
    ///
    /// # Errors
    /// As [`Self::show`].
    pub fn hide(&mut self) -> Result<(), Refused> {
        if self.place.take().is_some() {
            self.x.unmap_window(self.window)?;
            self.x.flush()?;
        }
        self.pointer = None;
        Ok(())
    }

    /// Draws what was damaged.
    ///
    /// # Errors
    /// As [`Self::show`].
    pub fn draw(&mut self, damage: &[Rect]) -> Result<(), Refused> {
        self.wait()?;
        let Some(source) = &self.source else { return Ok(()) };
        for rect in damage {
            self.put(source, *rect)?;
        }
        // It was drawn over where it is damaged.
        self.put_pointer(source)?;
        self.drawing = true;
        self.x.flush()?;
        Ok(())
    }

    /// Draws the pointer where it is now.
    ///
    /// # Errors
    /// As [`Self::show`].
    pub fn point(&mut self, pointer: Option<Drawn>) -> Result<(), Refused> {
        if self.pointer == pointer {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.pointer, pointer);
        let Some(source) = &self.source else { return Ok(()) };
        if let Some(covered) = before.and_then(|before| before.covers(&source.surface)) {
            self.put(source, covered)?;
        }
        self.put_pointer(source)?;
        self.x.flush()?;
        Ok(())
    }

    /// Waits until what was drawn last has been: an X server that is slow is not sent more than it draws.
    fn wait(&mut self) -> Result<(), Refused> {
        if std::mem::take(&mut self.drawing) {
            self.x.get_input_focus()?.reply()?;
        }
        while let Some(event) = self.x.poll_for_event()? {
            if let Event::Error(error) = event {
                return Err(Refused::Drawing(format!("{:?} of {:?}", error.error_kind, error.request_name)));
            }
        }
        Ok(())
    }

    fn attach(&mut self, surface: &Arc<Surface>) -> Result<(), Refused> {
        self.detach()?;
        let unreadable = || io::Error::new(io::ErrorKind::InvalidInput, "X cannot draw it");
        let (offset, pitch) = layout(surface).ok_or_else(unreadable)?;
        let (file, ..) = surface.memory().ok_or_else(unreadable)?;
        let (segment, memory) = (self.x.generate_id()?, OwnedFd::from(file.try_clone()?));
        self.x.shm_attach_fd(segment, memory, true)?.check()?;
        self.source = Some(Source { segment, surface: surface.clone(), offset, pitch });
        Ok(())
    }

    fn detach(&mut self) -> Result<(), Refused> {
        self.wait()?;
        if let Some(source) = self.source.take() {
            self.x.shm_detach(source.segment)?;
        }
        Ok(())
    }

    fn put(&self, source: &Source, rect: Rect) -> Result<(), Refused> {
        let size = source.surface.size();
        let Some(rect) = Rect::within(size, rect.x.into(), rect.y.into(), rect.width.into(), rect.height.into()) else { return Ok(()) };
        // All of them are below 65,536, as the picture's sides are.
        let [left, top, width, height, rows] = [rect.x, rect.y, rect.width, rect.height, size.height].map(|number| number as u16);
        let (format, format_of_x) = (DEPTH, u8::from(ImageFormat::Z_PIXMAP));
        self.x.shm_put_image(
            self.window,
            self.gc,
            source.pitch,
            rows,
            left,
            top,
            width,
            height,
            left as i16,
            top as i16,
            format,
            format_of_x,
            false,
            source.segment,
            source.offset,
        )?;
        Ok(())
    }

    fn put_pointer(&self, source: &Source) -> Result<(), Refused> {
        let Some(pointer) = &self.pointer else { return Ok(()) };
        let Some(rect) = pointer.covers(&source.surface) else { return Ok(()) };
        let row = rect.width as usize * BYTES;
        let mut pixels = vec![0; row * rect.height as usize];
        source.surface.read(rect, &mut pixels, row)?;
        blend(&mut pixels, rect, pointer);
        let [left, top, width, height] = [rect.x, rect.y, rect.width, rect.height].map(|number| number as u16);
        self.x.put_image(ImageFormat::Z_PIXMAP, self.window, self.gc, width, height, left as i16, top as i16, 0, DEPTH, &pixels)?;
        Ok(())
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        // With the connection goes all that was made over it.
        let _ = self.x.destroy_window(self.window).and_then(|_| self.x.flush());
    }
}

/// Lays a pointer over the pixels that it covers.
fn blend(pixels: &mut [u8], rect: Rect, pointer: &Drawn) {
    let cursor = &pointer.cursor;
    let (pixels, _) = pixels.as_chunks_mut::<BYTES>();
    let (shape, _) = cursor.bgra.as_chunks::<BYTES>();
    for (index, pixel) in pixels.iter_mut().enumerate() {
        let (column, row) = (index % rect.width as usize, index / rect.width as usize);
        let inside = |at: u32, offset: usize, start: i64| usize::try_from(i64::from(at) + offset as i64 - start).ok();
        let at = inside(rect.x, column, pointer.x).zip(inside(rect.y, row, pointer.y));
        let over = at.filter(|(x, _)| *x < cursor.width as usize).and_then(|(x, y)| shape.get(y * cursor.width as usize + x));
        let Some(&[blue, green, red, opacity]) = over else { continue };
        for (part, over) in pixel.iter_mut().zip([blue, green, red]) {
            let mixed = u32::from(over) * u32::from(opacity) + u32::from(*part) * (255 - u32::from(opacity));
            *part = (mixed / 255) as u8;
        }
    }
}

/// A visual whose pixels are as guests have theirs: blue, green, red and a byte of nothing.
fn visual(x: &RustConnection, screen: usize) -> Option<Visualid> {
    let setup = x.setup();
    let is_as_wide = setup.pixmap_formats.iter().any(|format| format.depth == DEPTH && usize::from(format.bits_per_pixel) == BYTES * 8);
    let depths = &setup.roots.get(screen)?.allowed_depths;
    let visuals = &depths.iter().find(|depth| depth.depth == DEPTH)?.visuals;
    let is_bgrx = |masks: [u32; 3]| masks == [0xff_0000, 0xff00, 0xff];
    let visual = visuals
        .iter()
        .find(|visual| visual.class == VisualClass::TRUE_COLOR && is_bgrx([visual.red_mask, visual.green_mask, visual.blue_mask]))?;
    (is_as_wide && setup.image_byte_order == ImageOrder::LSB_FIRST).then_some(visual.visual_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::display::Size;

    #[test]
    fn a_pointer_lies_over_the_picture_and_its_edge() {
        let cursor = Cursor {
            width: 2,
            height: 2,
            hot_x: 0,
            hot_y: 0,
            bgra: [[0, 0, 0, 0], [255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 200, 128]].concat(),
        };
        let surface = Surface::bytes(vec![100; 4 * 4 * 4], Size::new(4, 4).unwrap(), 16, Format::Bgrx).unwrap();
        // Its left column is outside.
        let pointer = Drawn { cursor: Arc::new(cursor), x: -1, y: 1 };
        let rect = pointer.covers(&surface).unwrap();
        assert_eq!(rect, Rect { x: 0, y: 1, width: 1, height: 2 });
        let mut pixels = vec![100; 8];
        blend(&mut pixels, rect, &pointer);
        assert_eq!(pixels, [255, 0, 0, 100, 49, 49, 150, 100]);
    }

    #[test]
    fn only_shared_pixels_in_xs_own_order_are_drawn_so() {
        let size = Size::new(4, 4).unwrap();
        let memory = || {
            let memory = rustix::fs::memfd_create("picture", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
            rustix::fs::ftruncate(&memory, 4096).unwrap();
            memory
        };
        let shared = |format, stride| Surface::shared(memory(), 64, size, stride, format).unwrap();
        assert_eq!(layout(&shared(Format::Bgrx, 32)), Some((64, 8)));
        assert_eq!(layout(&shared(Format::Rgbx, 32)), None);
        assert_eq!(layout(&shared(Format::Bgrx, 30)), None, "rows do not begin at whole pixels");
        assert!(!is_drawable(&Surface::bytes(vec![0; 64], size, 16, Format::Bgrx).unwrap()));
    }
}
