//! The fake's screen: each head is black, and its upper left corner changes with every key that goes down.

use crate::display::{
    Control, Format, Frames, Head, HeadInfo, Input, Leds, Pointer, Rect, Size, SizeRequest, Source, Surface, Viewer, frames,
};
use crate::{Error, ErrorKind, Result};
use async_trait::async_trait;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// How large a head is until somebody asks for another size.
const SIZE: Size = Size { width: 64, height: 48 };
/// What a key changes.
const CORNER: Size = Size { width: 8, height: 8 };

#[derive(Debug)]
struct HeadState {
    size: Size,
    keys: u8,
    viewers: Vec<Source>,
}

/// The screen of a fake machine. Dropping it ends all frames.
#[derive(Debug)]
pub(super) struct Screen {
    heads: Mutex<Vec<HeadState>>,
}

impl Screen {
    pub(super) fn new(heads: usize) -> Arc<Self> {
        let state = || HeadState { size: SIZE, keys: 0, viewers: Vec::new() };
        Arc::new(Self { heads: Mutex::new(std::iter::repeat_with(state).take(heads).collect()) })
    }

    pub(super) fn viewer(self: &Arc<Self>) -> Arc<dyn Viewer> {
        Arc::new(FakeViewer(Arc::downgrade(self)))
    }

    fn with<T>(&self, head: usize, work: impl FnOnce(&mut HeadState) -> T) -> Result<T> {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        let state = heads.get_mut(head).ok_or_else(|| Error::new(ErrorKind::NotFound, format!("There is no head {head}")))?;
        Ok(work(state))
    }

    fn open(&self, head: usize) -> Result<Frames> {
        self.with(head, |state| {
            let (source, frames) = frames();
            source.show(picture(state.size, state.keys));
            state.viewers.push(source);
            frames
        })
    }
}

/// A head after so many keys.
fn picture(size: Size, keys: u8) -> Surface {
    let mut bytes = vec![0; size.width as usize * size.height as usize * 4];
    for row in bytes.chunks_mut(size.width as usize * 4).take(CORNER.height as usize) {
        row.iter_mut().take(CORNER.width as usize * 4).for_each(|byte| *byte = keys);
    }
    Surface::bytes(bytes, size, size.width * 4, Format::Bgrx).unwrap_or_else(|error| unreachable!("{error}"))
}

#[derive(Debug)]
struct FakeViewer(Weak<Screen>);

fn gone() -> Error {
    Error::new(ErrorKind::Backend, "The machine has ended")
}

#[async_trait]
impl Viewer for FakeViewer {
    async fn heads(&self) -> Result<Vec<HeadInfo>> {
        let screen = self.0.upgrade().ok_or_else(gone)?;
        let heads = screen.heads.lock().unwrap_or_else(PoisonError::into_inner);
        let info = |(index, state): (usize, &HeadState)| HeadInfo {
            index,
            label: format!("Fake {index}"),
            head: 0,
            device: String::new(),
            size: Some(state.size),
        };
        Ok(heads.iter().enumerate().map(info).collect())
    }

    async fn open(&self, head: usize) -> Result<Head> {
        let frames = self.0.upgrade().ok_or_else(gone)?.open(head)?;
        let info = self.heads().await?.into_iter().nth(head).ok_or_else(gone)?;
        Ok(Head { info, frames, control: Arc::new(FakeControl { screen: self.0.clone(), head }) })
    }
}

#[derive(Debug)]
struct FakeControl {
    screen: Weak<Screen>,
    head: usize,
}

impl FakeControl {
    fn with<T>(&self, work: impl FnOnce(&mut HeadState) -> T) -> Result<T> {
        self.screen.upgrade().ok_or_else(gone)?.with(self.head, work)
    }
}

#[async_trait]
impl Control for FakeControl {
    async fn send(&self, input: Input) -> Result<()> {
        self.with(|state| match input {
            Input::Key { down: true, .. } => {
                state.keys = state.keys.wrapping_add(1);
                let value = vec![state.keys; (CORNER.width * CORNER.height * 4) as usize];
                for viewer in &state.viewers {
                    let Some(surface) = viewer.surface() else { continue };
                    if let Ok(Some(Rect { x, y, width, height })) = surface.write(0, 0, CORNER, &value, CORNER.width * 4) {
                        viewer.damage(x.into(), y.into(), width.into(), height.into());
                    }
                }
            }
            Input::Position { x, y } => {
                let place = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
                let pointer = Pointer { x: place(x), y: place(y), visible: true };
                state.viewers.iter().for_each(|viewer| viewer.pointer(pointer));
            }
            _ => {}
        })
    }

    async fn request_size(&self, request: SizeRequest) -> Result<()> {
        self.with(|state| {
            state.size = request.size;
            state.viewers.iter().for_each(|viewer| viewer.show(picture(state.size, state.keys)));
        })
    }

    async fn takes_positions(&self) -> Result<bool> {
        self.with(|_| true)
    }

    async fn leds(&self) -> Result<Leds> {
        self.with(|_| Leds::default())
    }

    async fn refreshed(&self) -> Result<()> {
        self.with(|_| ())
    }
}
