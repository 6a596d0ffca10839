//! This desktop's clipboard: text and pictures. Reading it asks another program, so a thread of its own waits for that.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock, mpsc};

use arboard::ImageData;
use machine::exchange::{ClipboardFormat, MAX_CLIPBOARD};
use tokio::sync::oneshot;

/// Most pixels of a picture that is taken: it is unpacked in memory.
const MOST_PIXELS: u64 = 64 << 20;

/// What is on a clipboard.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Content {
    /// Text, lines ended by a line feed alone.
    Text(String),
    /// A picture: its width, its height, and red, green, blue and alpha of each pixel.
    Picture(u32, u32, Vec<u8>),
}

impl Content {
    /// A number that other contents do not have.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// As a guest takes it; `None` where it is too much for one.
    pub fn into_data(self) -> Option<(ClipboardFormat, Vec<u8>)> {
        let data = match self {
            Self::Text(text) => (ClipboardFormat::Text, text.into_bytes()),
            Self::Picture(width, height, rgba) => (ClipboardFormat::Png, pack(width, height, &rgba)?),
        };
        (data.1.len() <= MAX_CLIPBOARD).then_some(data)
    }

    /// What a guest gave; `None` where it is not what it should be.
    pub fn from_data(format: ClipboardFormat, data: Vec<u8>) -> Option<Self> {
        match format {
            ClipboardFormat::Text => Some(Self::Text(String::from_utf8(data).ok()?)),
            ClipboardFormat::Png => unpack(&data),
            _ => None,
        }
    }
}

fn pack(width: u32, height: u32, rgba: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    let mut encoder = png::Encoder::new(&mut data, width, height);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_compression(png::Compression::Fast);
    encoder.write_header().ok()?.write_image_data(rgba).ok()?;
    Some(data)
}

fn unpack(data: &[u8]) -> Option<Content> {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(data));
    decoder.set_transformations(png::Transformations::normalize_to_color8() | png::Transformations::ALPHA);
    let mut reader = decoder.read_info().ok()?;
    let (width, height) = reader.info().size();
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return None;
    }
    let mut pixels = vec![0; reader.output_buffer_size()?];
    let frame = reader.next_frame(&mut pixels).ok()?;
    pixels.truncate(frame.buffer_size());
    let rgba = match frame.color_type {
        png::ColorType::Rgba => pixels,
        png::ColorType::GrayscaleAlpha => pixels.as_chunks::<2>().0.iter().flat_map(|&[gray, alpha]| [gray, gray, gray, alpha]).collect(),
        _ => return None,
    };
    Some(Content::Picture(width, height, rgba))
}

/// What is asked of the thread.
enum Job {
    Read(oneshot::Sender<Option<Content>>),
    Write(Content, oneshot::Sender<()>),
}

/// This desktop's clipboard. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Desk(Arc<OnceLock<mpsc::Sender<Job>>>);

impl Desk {
    /// What is on it, where that is text or a picture.
    pub async fn read(&self) -> Option<Content> {
        let (reply, answer) = oneshot::channel();
        self.jobs().send(Job::Read(reply)).ok()?;
        answer.await.ok().flatten()
    }

    /// Puts something on it.
    pub async fn write(&self, content: Content) {
        let (reply, answer) = oneshot::channel();
        if self.jobs().send(Job::Write(content, reply)).is_ok() {
            // The thread is there as long as the app.
            let _ = answer.await;
        }
    }

    /// The thread is started when it is first needed.
    fn jobs(&self) -> &mpsc::Sender<Job> {
        self.0.get_or_init(|| {
            let (sender, jobs) = mpsc::channel();
            let started = std::thread::Builder::new().name("clipboard".into()).spawn(move || work(&jobs));
            if let Err(error) = started {
                tracing::error!(%error, "The clipboard cannot be reached");
            }
            sender
        })
    }
}

fn work(jobs: &mpsc::Receiver<Job>) {
    let mut clipboard = None;
    for job in jobs {
        if clipboard.is_none() {
            clipboard = arboard::Clipboard::new().inspect_err(|error| tracing::warn!(%error, "The clipboard cannot be reached")).ok();
        }
        match job {
            Job::Read(reply) => {
                let _ = reply.send(clipboard.as_mut().and_then(read));
            }
            Job::Write(content, reply) => {
                if let Some(Err(error)) = clipboard.as_mut().map(|clipboard| write(clipboard, content)) {
                    tracing::warn!(%error, "What the guest has copied cannot be pasted here");
                }
                let _ = reply.send(());
            }
        }
    }
}

fn read(clipboard: &mut arboard::Clipboard) -> Option<Content> {
    if let Ok(text) = clipboard.get_text() {
        return (!text.is_empty()).then(|| Content::Text(text.replace("\r\n", "\n")));
    }
    let picture = clipboard.get_image().ok()?;
    let (width, height) = (u32::try_from(picture.width).ok()?, u32::try_from(picture.height).ok()?);
    Some(Content::Picture(width, height, picture.bytes.into_owned()))
}

fn write(clipboard: &mut arboard::Clipboard, content: Content) -> Result<(), arboard::Error> {
    match content {
        Content::Text(text) => clipboard.set_text(text),
        Content::Picture(width, height, rgba) => {
            clipboard.set_image(ImageData { width: width as usize, height: height as usize, bytes: Cow::Owned(rgba) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_survives_the_way_to_a_guest_and_back() {
        let picture = Content::Picture(3, 2, (0..24).collect());
        let (format, data) = picture.clone().into_data().unwrap();
        assert_eq!(format, ClipboardFormat::Png);
        assert_eq!(Content::from_data(format, data), Some(picture));
        let (format, data) = Content::Text("ü\n".into()).into_data().unwrap();
        assert_eq!(Content::from_data(format, data), Some(Content::Text("ü\n".into())));
    }

    #[test]
    fn pictures_without_colour_or_alpha_are_taken_too() {
        let mut data = Vec::new();
        let mut encoder = png::Encoder::new(&mut data, 2, 1);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::One);
        encoder.write_header().unwrap().write_image_data(&[0b0100_0000]).unwrap();
        let taken = Content::from_data(ClipboardFormat::Png, data);
        assert_eq!(taken, Some(Content::Picture(2, 1, vec![0, 0, 0, 255, 255, 255, 255, 255])));
    }

    #[test]
    fn nonsense_and_absurd_sizes_are_not_taken() {
        assert_eq!(Content::from_data(ClipboardFormat::Text, vec![0xff, 0xfe]), None);
        assert_eq!(Content::from_data(ClipboardFormat::Png, b"\x89PNG\r\n\x1a\nnonsense".to_vec()), None);
        let mut data = Vec::new();
        let mut encoder = png::Encoder::new(&mut data, 60_000, 60_000);
        encoder.set_color(png::ColorType::Grayscale);
        // Only what says how large it is.
        drop(encoder.write_header());
        assert_eq!(Content::from_data(ClipboardFormat::Png, data), None);
    }
}
