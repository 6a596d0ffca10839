//! What a display says about a console's picture, checked and applied.
//!
//! Every value here comes from a process that a guest may have taken over. A refusal is an answer like any other: the display then tries
//! another way, or shows nothing.

use crate::service::{Refusal, Reply, Service};
use machine::display::{Cursor, Format, Pointer, Size, Source, Surface};
use std::os::fd::OwnedFd;
use zbus::message::Body;

/// The longest side of a pointer's picture.
const MAX_CURSOR: i32 = 512;

/// A picture as a display describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from row to row.
    pub stride: u32,
    /// The format as a number of pixman's.
    pub pixman: u32,
}

/// Draws for one viewer what a display says.
#[derive(Debug)]
pub struct Painter {
    source: Source,
}

/// How the pixels of pixman's formats lie in memory. Their names tell the bits of a number in the host's order, from the highest.
pub fn format(pixman: u32) -> Option<Format> {
    let (bits, order) = (pixman >> 24, (pixman >> 16) & 0xff);
    let depths = pixman & 0xfff;
    let big = cfg!(target_endian = "big");
    Some(match (bits, order, depths) {
        // ARGB, ABGR, BGRA, RGBA.
        (32, 2, 0x888) => {
            if big {
                Format::Xrgb
            } else {
                Format::Bgrx
            }
        }
        (32, 3, 0x888) => {
            if big {
                Format::Xbgr
            } else {
                Format::Rgbx
            }
        }
        (32, 8, 0x888) => {
            if big {
                Format::Bgrx
            } else {
                Format::Xrgb
            }
        }
        (32, 9, 0x888) => {
            if big {
                Format::Rgbx
            } else {
                Format::Xbgr
            }
        }
        (24, 2, 0x888) => {
            if big {
                Format::Rgb
            } else {
                Format::Bgr
            }
        }
        (24, 3, 0x888) => {
            if big {
                Format::Bgr
            } else {
                Format::Rgb
            }
        }
        (16, 2, 0x565) => Format::Rgb565,
        (16, 2, 0x555) => Format::Rgb555,
        _ => return None,
    })
}

impl Description {
    fn read(self) -> Result<(Size, Format), Refusal> {
        let size = Size::new(self.width, self.height).ok_or_else(|| format!("no picture has {} x {} pixels", self.width, self.height))?;
        let format = format(self.pixman).ok_or_else(|| format!("pixels of format {:#x} are not known", self.pixman))?;
        Ok((size, format))
    }
}

impl Painter {
    /// Draws into `source`.
    pub const fn new(source: Source) -> Self {
        Self { source }
    }

    /// Another picture, as bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn scanout(&mut self, picture: Description, data: &[u8]) -> Result<(), String> {
        let (size, format) = picture.read()?;
        let surface = Surface::bytes(data.to_vec(), size, picture.stride, format).map_err(|error| error.to_string())?;
        self.source.show(surface);
        Ok(())
    }

    /// Part of the picture is another now.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn update(&mut self, x: i32, y: i32, part: Description, data: &[u8]) -> Result<(), String> {
        let (size, format) = part.read()?;
        let surface = self.source.surface().filter(|surface| !surface.is_shared()).ok_or("there is no picture to update")?;
        if surface.format() != format {
            return Err("the update has another format than the picture".into());
        }
        let changed = surface.write(x.into(), y.into(), size, data, part.stride).map_err(|error| error.to_string())?;
        if let Some(rect) = changed {
            self.source.damage(rect.x.into(), rect.y.into(), rect.width.into(), rect.height.into());
        }
        Ok(())
    }

    /// Another picture, in memory that is shared.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn scanout_map(&mut self, memory: OwnedFd, offset: u32, picture: Description) -> Result<(), String> {
        let (size, format) = picture.read()?;
        let surface = Surface::shared(memory, offset.into(), size, picture.stride, format).map_err(|error| error.to_string())?;
        self.source.show(surface);
        Ok(())
    }

    /// Part of the shared picture is another now.
    pub fn update_map(&mut self, x: i32, y: i32, width: i32, height: i32) {
        if self.source.surface().is_some_and(|surface| surface.is_shared()) {
            self.source.damage(x.into(), y.into(), width.into(), height.into());
        }
    }

    /// The picture is in the memory of a graphics card, which is not read here.
    pub fn scanout_dmabuf(&mut self) {
        self.source.unreadable("The guest draws with 3D acceleration, whose pictures stay in the graphics card");
    }

    /// There is no picture.
    pub fn disable(&mut self) {
        self.source.off();
    }

    /// The pointer is there now.
    pub fn mouse_set(&mut self, x: i32, y: i32, on: i32) {
        self.source.pointer(Pointer { x, y, visible: on != 0 });
    }

    /// The pointer looks like this now.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn cursor_define(&mut self, (width, height): (i32, i32), (hot_x, hot_y): (i32, i32), data: &[u8]) -> Result<(), String> {
        let side = |value: i32| u32::try_from(value).ok().filter(|_| (1..=MAX_CURSOR).contains(&value));
        let (Some(columns), Some(rows)) = (side(width), side(height)) else {
            return Err(format!("no pointer has {width} x {height} pixels"));
        };
        let bytes = data.get(..(columns * rows * 4) as usize).ok_or("the pointer has fewer bytes than pixels")?;
        let within = |value: i32, side: u32| u32::try_from(value).unwrap_or(0).min(side - 1);
        let mut bgra = bytes.to_vec();
        if cfg!(target_endian = "big") {
            bgra.chunks_exact_mut(4).for_each(<[u8]>::reverse);
        }
        self.source.cursor(Cursor { width: columns, height: rows, hot_x: within(hot_x, columns), hot_y: within(hot_y, rows), bgra });
        Ok(())
    }
}

const LISTENER: &str = "org.qemu.Display1.Listener";
const MAP: &str = "org.qemu.Display1.Listener.Unix.Map";

impl Service for Painter {
    const INTERFACES: &'static [&'static str] = &[MAP];

    fn call(&mut self, interface: &str, member: &str, body: &Body) -> Result<Reply, Refusal> {
        let wrong = |error: zbus::Error| error.to_string();
        match (interface, member) {
            (LISTENER, "Scanout") => {
                let (width, height, stride, pixman, data): (u32, u32, u32, u32, &[u8]) = body.deserialize().map_err(wrong)?;
                self.scanout(Description { width, height, stride, pixman }, data)?;
            }
            (LISTENER, "Update") => {
                let (x, y, width, height, stride, pixman, data): (i32, i32, i32, i32, u32, u32, &[u8]) =
                    body.deserialize().map_err(wrong)?;
                let side = |value: i32| u32::try_from(value).unwrap_or(0);
                self.update(x, y, Description { width: side(width), height: side(height), stride, pixman }, data)?;
            }
            (MAP, "ScanoutMap") => {
                let (memory, offset, width, height, stride, pixman): (zbus::OwnedFd, u32, u32, u32, u32, u32) =
                    body.deserialize().map_err(wrong)?;
                self.scanout_map(memory.into(), offset, Description { width, height, stride, pixman })?;
            }
            (MAP, "UpdateMap") => {
                let (x, y, width, height): (i32, i32, i32, i32) = body.deserialize().map_err(wrong)?;
                self.update_map(x, y, width, height);
            }
            (LISTENER, "ScanoutDMABUF" | "ScanoutDMABUF2") => {
                self.scanout_dmabuf();
                return Err("pictures in the memory of a graphics card are not taken".into());
            }
            (LISTENER, "UpdateDMABUF") => return Err("pictures in the memory of a graphics card are not taken".into()),
            (LISTENER, "Disable") => self.disable(),
            (LISTENER, "MouseSet") => {
                let (x, y, on): (i32, i32, i32) = body.deserialize().map_err(wrong)?;
                self.mouse_set(x, y, on);
            }
            (LISTENER, "CursorDefine") => {
                let (width, height, hot_x, hot_y, data): (i32, i32, i32, i32, &[u8]) = body.deserialize().map_err(wrong)?;
                self.cursor_define((width, height), (hot_x, hot_y), data)?;
            }
            _ => return Err(format!("there is no {interface}.{member}")),
        }
        Ok(Reply::Empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::display::frames;

    #[test]
    fn the_formats_of_pixman_are_known_by_their_bytes() {
        // Of pixman.h: PIXMAN_x8r8g8b8, a8r8g8b8, x8b8g8r8, b8g8r8x8, r8g8b8x8, r5g6b5, r8g8b8.
        if cfg!(target_endian = "little") {
            let of = [0x2002_0888, 0x2002_8888, 0x2003_0888, 0x2008_0888, 0x2009_0888, 0x1002_0565, 0x1802_0888].map(format);
            let expected = [Format::Bgrx, Format::Bgrx, Format::Rgbx, Format::Xrgb, Format::Xbgr, Format::Rgb565, Format::Bgr];
            assert_eq!(of, expected.map(Some));
        }
        assert_eq!(format(0), None);
        assert_eq!(format(u32::MAX), None);
    }

    #[test]
    fn a_pointer_stays_within_bounds() {
        let (source, mut frames) = frames();
        let mut painter = Painter::new(source);
        assert!(painter.cursor_define((i32::MAX, i32::MAX), (0, 0), &[]).is_err());
        assert!(painter.cursor_define((-1, 4), (0, 0), &[0; 64]).is_err());
        assert!(painter.cursor_define((4, 4), (0, 0), &[0; 63]).is_err());
        assert!(frames.take().is_none());
        painter.cursor_define((4, 4), (i32::MAX, i32::MIN), &[0; 99]).unwrap();
        let cursor = frames.take().unwrap().cursor.unwrap();
        assert_eq!((cursor.hot_x, cursor.hot_y, cursor.bgra.len()), (3, 0, 64));
    }
}
