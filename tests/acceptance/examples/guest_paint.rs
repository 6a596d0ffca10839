//! Runs in a guest of Linux: repaints the whole screen so often, or shows that a key was pressed. A viewer's picture tells by the colour of its
//! middle which repaint it is: each has another than the one before.
//!
//! `guest_paint WIDTH HEIGHT RATE SECONDS` repaints; `guest_paint WIDTH HEIGHT keys` waits for keys, until it is killed.

#![allow(unsafe_code, reason = "screens are reached by ioctls and memory maps")]

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, RawFd};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// The middle, a square of so many pixels.
const MIDDLE: usize = 256;
/// Columns of which at least one pixel is another in each row of each repaint: who compares pictures finds that all of it has changed, and an
/// emulated processor need not write all of it.
const BLOCK: usize = 32;

// Linux's include/uapi/drm/drm_mode.h.
#[repr(C)]
#[derive(Default)]
struct Resources {
    framebuffers: u64,
    crtcs: u64,
    connectors: u64,
    encoders: u64,
    counts: [u32; 4],
    limits: [u32; 4],
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Mode {
    clock: u32,
    across: [u16; 5],
    down: [u16; 5],
    refresh: u32,
    flags: u32,
    kind: u32,
    name: [u8; 32],
}

#[repr(C)]
#[derive(Default)]
struct Crtc {
    connectors: u64,
    count: u32,
    crtc: u32,
    framebuffer: u32,
    x: u32,
    y: u32,
    gamma: u32,
    mode_valid: u32,
    mode: Mode,
}

#[repr(C)]
#[derive(Default)]
struct Dumb {
    height: u32,
    width: u32,
    bits: u32,
    flags: u32,
    handle: u32,
    pitch: u32,
    size: u64,
}

#[repr(C)]
#[derive(Default)]
struct MapDumb {
    handle: u32,
    pad: u32,
    offset: u64,
}

#[repr(C)]
#[derive(Default)]
struct Framebuffer {
    id: u32,
    width: u32,
    height: u32,
    pitch: u32,
    bits: u32,
    depth: u32,
    handle: u32,
}

#[repr(C)]
#[derive(Default)]
struct Dirty {
    framebuffer: u32,
    flags: u32,
    color: u32,
    count: u32,
    clips: u64,
}

/// `_IOWR('d', number, T)`.
fn ask<T>(card: RawFd, number: u64, argument: &mut T, what: &str) -> Result<()> {
    let request = (3 << 30) | ((size_of::<T>() as u64) << 16) | (u64::from(b'd') << 8) | number;
    // SAFETY: each number is called with the structure that Linux has for it, and the pointers in that lead to memory that lives on.
    let done = unsafe { libc::ioctl(card, request, std::ptr::from_mut(argument)) };
    if done < 0 {
        return Err(std::io::Error::last_os_error()).with_context(|| what.to_owned());
    }
    Ok(())
}

/// A screen, and memory that it shows.
struct Screen {
    card: File,
    framebuffer: u32,
    width: usize,
    height: usize,
    /// Pixels from row to row.
    stride: usize,
    pixels: &'static mut [u32],
}

impl Screen {
    fn open(width: u32, height: u32) -> Result<Self> {
        let card = OpenOptions::new().read(true).write(true).open("/dev/dri/card0").context("There is no /dev/dri/card0")?;
        let fd = card.as_raw_fd();
        let (mut crtcs, mut connectors) = ([0_u32; 16], [0_u32; 16]);
        let mut resources =
            Resources { crtcs: crtcs.as_mut_ptr() as u64, connectors: connectors.as_mut_ptr() as u64, ..Resources::default() };
        resources.counts = [0, 16, 16, 0];
        ask(fd, 0xA0, &mut resources, "The card does not tell its screens")?;

        let mut dumb = Dumb { width, height, bits: 32, ..Dumb::default() };
        ask(fd, 0xB2, &mut dumb, "The card gives no memory")?;
        let mut framebuffer =
            Framebuffer { width, height, pitch: dumb.pitch, bits: 32, depth: 24, handle: dumb.handle, ..Framebuffer::default() };
        ask(fd, 0xAE, &mut framebuffer, "The card does not take the memory")?;
        let mut map = MapDumb { handle: dumb.handle, ..MapDumb::default() };
        ask(fd, 0xB3, &mut map, "The memory cannot be mapped")?;
        let length = usize::try_from(dumb.size)?;
        let (rights, offset) = (libc::PROT_READ | libc::PROT_WRITE, i64::try_from(map.offset)?);
        // SAFETY: a new mapping, of the size that the card told.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), length, rights, libc::MAP_SHARED, fd, offset) };
        if memory == libc::MAP_FAILED {
            bail!("The screen's memory cannot be mapped: {}", std::io::Error::last_os_error());
        }
        // SAFETY: it is so long, nobody else in this process knows it, and it is never unmapped.
        let pixels = unsafe { std::slice::from_raw_parts_mut(memory.cast::<u32>(), length / 4) };

        let (wide, high) = (u16::try_from(width)?, u16::try_from(height)?);
        let mode = Mode {
            clock: 60 * (width + 160) * (height + 30) / 1000,
            across: [wide, wide + 48, wide + 80, wide + 160, 0],
            down: [high, high + 3, high + 8, high + 30, 0],
            refresh: 60,
            ..Mode::default()
        };
        let mut crtc = Crtc {
            connectors: connectors.as_mut_ptr() as u64,
            count: 1,
            crtc: crtcs[0],
            framebuffer: framebuffer.id,
            mode_valid: 1,
            mode,
            ..Crtc::default()
        };
        ask(fd, 0xA2, &mut crtc, "The card does not show the memory")?;
        Ok(Self {
            card,
            framebuffer: framebuffer.id,
            width: width as usize,
            height: height as usize,
            stride: dumb.pitch as usize / 4,
            pixels,
        })
    }

    /// Gives the middle the colour of a repaint.
    fn mark(&mut self, number: usize) {
        let level = |step: usize| [32_u32, 128, 224][step % 3];
        let color = level(number) << 16 | level(number / 3) << 8 | level(number / 9);
        let (left, top) = ((self.width - MIDDLE) / 2, (self.height - MIDDLE) / 2);
        for row in top..top + MIDDLE {
            let start = row * self.stride + left;
            self.pixels[start..start + MIDDLE].fill(color);
        }
    }

    /// Says that the middle has changed, or all.
    fn changed(&self, middle: bool) -> Result<()> {
        let (left, top) = ((self.width - MIDDLE) / 2, (self.height - MIDDLE) / 2);
        let clip = [left, top, left + MIDDLE, top + MIDDLE].map(|edge| edge as u16);
        let mut dirty = Dirty { framebuffer: self.framebuffer, ..Dirty::default() };
        if middle {
            (dirty.count, dirty.clips) = (1, clip.as_ptr() as u64);
        }
        ask(self.card.as_raw_fd(), 0xB1, &mut dirty, "The card does not take the change")
    }
}

/// A picture of tiles.
fn picture(screen: &Screen) -> Vec<u32> {
    let color = |row: usize, column: usize| {
        let tile = (row / 24 + column / 24) % 4;
        let base = [0x30_40_58_u32, 0x58_40_30, 0x40_58_30, 0x48_30_58][tile];
        base + (column % 24) as u32 * 0x02_02_02 + (row % 24) as u32 * 0x01_01_01
    };
    (0..screen.height).flat_map(|row| (0..screen.stride).map(move |column| color(row, column))).collect()
}

fn repaint(screen: &mut Screen, rate: u32, seconds: u32) -> Result<()> {
    let all = picture(screen);
    screen.pixels[..all.len()].copy_from_slice(&all);
    let interval = Duration::from_secs(1) / rate;
    println!("painting");
    let began = Instant::now();
    let (mut painted, mut due) = (0_usize, began);
    while began.elapsed() < Duration::from_secs(u64::from(seconds)) {
        let color = [0xff_80_40, 0x40_80_ff, 0x80_ff_40][painted % 3];
        for pixel in screen.pixels.iter_mut().step_by(BLOCK) {
            *pixel = color;
        }
        screen.mark(painted);
        screen.changed(false)?;
        painted += 1;
        // What is late is not made up for.
        due = (due + interval).max(Instant::now());
        std::thread::sleep(due - Instant::now());
    }
    println!("painted {painted} in {} ms", began.elapsed().as_millis());
    Ok(())
}

fn show_keys(screen: &mut Screen) -> Result<()> {
    let all = picture(screen);
    screen.pixels[..all.len()].copy_from_slice(&all);
    let inputs = std::fs::read_dir("/dev/input").context("There is no /dev/input")?.flatten();
    let mut inputs: Vec<File> = inputs
        .filter(|file| file.file_name().to_string_lossy().starts_with("event"))
        .filter_map(|file| File::open(file.path()).ok())
        .collect();
    screen.mark(0);
    screen.changed(false)?;
    println!("painting");
    let mut pressed = 0;
    loop {
        let mut waits: Vec<libc::pollfd> =
            inputs.iter().map(|file| libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 }).collect();
        // SAFETY: an array of so many, of open files.
        unsafe { libc::poll(waits.as_mut_ptr(), waits.len() as libc::nfds_t, -1) };
        for (wait, input) in waits.iter().zip(&mut inputs).filter(|(wait, _)| wait.revents != 0) {
            // Two words of time, then a type, a code and a value.
            let mut events = [0; 24 * 64];
            let read = input.read(&mut events).with_context(|| format!("Input {} ended", wait.fd))?;
            for event in events[..read].chunks_exact(24) {
                if event[16..18] == [1, 0] && event[20..24] == [1, 0, 0, 0] {
                    pressed += 1;
                    screen.mark(pressed);
                    screen.changed(true)?;
                }
            }
        }
    }
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |at: usize| -> Result<u32> { words.get(at).context("guest_paint WIDTH HEIGHT RATE SECONDS|keys")?.parse().context("No number") };
    let mut screen = Screen::open(number(0)?, number(1)?)?;
    if words.get(2).is_some_and(|word| word == "keys") { show_keys(&mut screen) } else { repaint(&mut screen, number(2)?, number(3)?) }
}
