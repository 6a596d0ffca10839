//! What a display says about a picture: any sizes, strides, offsets and formats, in any order, over memory that shrinks. Nothing panics, all
//! damage is within the picture, and what is shown can be read or fails to be.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use machine::display::frames;
use qemu_display::painter::{Description, Painter};
use std::fs::File;

#[derive(Debug, Arbitrary)]
struct Picture {
    width: u16,
    height: u16,
    stride: u32,
    tight: bool,
    format: u8,
}

#[derive(Debug, Arbitrary)]
enum Said {
    Scanout(Picture, Vec<u8>),
    Update(i32, i32, Picture, Vec<u8>),
    Map(u32, Picture),
    UpdateMap(i32, i32, i32, i32),
    Shrink(u16),
    Disable,
    Mouse(i32, i32, i32),
    Cursor(i16, i16, i32, i32, Vec<u8>),
    Look,
}

const FORMATS: [u32; 8] = [0x2002_0888, 0x2003_0888, 0x2008_0888, 0x2009_8888, 0x1802_0888, 0x1002_0565, 0x1002_0555, 0x0];

impl Picture {
    fn description(&self) -> Description {
        let pixman = FORMATS[usize::from(self.format) % FORMATS.len()];
        // Pictures that fit are rare among random ones.
        let stride = if self.tight { u32::from(self.width) * (pixman >> 24) / 8 } else { self.stride };
        Description { width: self.width.into(), height: self.height.into(), stride, pixman }
    }
}

fuzz_target!(|said: Vec<Said>| {
    let memory = tempfile::tempfile_in("/dev/shm").expect("shared memory can be made");
    let share = |file: &File| file.try_clone().expect("a descriptor can be copied").into();
    let (source, mut frames) = frames();
    let mut painter = Painter::new(source);
    for said in said {
        match said {
            Said::Scanout(picture, data) => drop(painter.scanout(picture.description(), &data)),
            Said::Update(x, y, picture, data) => drop(painter.update(x, y, picture.description(), &data)),
            Said::Map(offset, picture) => drop(painter.scanout_map(share(&memory), offset, picture.description())),
            Said::UpdateMap(x, y, width, height) => painter.update_map(x, y, width, height),
            Said::Shrink(length) => memory.set_len(length.into()).expect("memory can be resized"),
            Said::Disable => painter.disable(),
            Said::Mouse(x, y, on) => painter.mouse_set(x, y, on),
            Said::Cursor(width, height, x, y, data) => drop(painter.cursor_define((width.into(), height.into()), (x, y), &data)),
            Said::Look => {}
        }
        let Some(update) = frames.take() else { continue };
        if let Some(cursor) = &update.cursor {
            assert!(cursor.hot_x < cursor.width && cursor.hot_y < cursor.height);
            assert_eq!(cursor.bgra.len(), (cursor.width * cursor.height * 4) as usize);
        }
        match update.shown.surface() {
            Some(surface) => {
                let whole = surface.size().whole();
                assert!(update.damage.rects().iter().all(|rect| rect.area() > 0 && rect.is_within(whole)));
                if whole.area() < 1 << 16 {
                    let _ = surface.to_rgb();
                }
            }
            None => assert!(update.damage.is_empty()),
        }
    }
});
