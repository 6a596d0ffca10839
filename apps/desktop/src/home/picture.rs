//! Pictures of machines: what one shows now, or what it showed last.

use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use beneath::Folder;
use library::{Library, Machine};
use machine::display::{Shown, Surface};
use slint::{Image, Rgb8Pixel, SharedPixelBuffer};
use tokio::sync::mpsc::Sender;

/// The most bytes that a picture in a bundle may have, packed and unpacked.
const MOST: usize = 64 << 20;
/// The time between two pictures of a running machine: a thumbnail is not for watching.
const PACE: Duration = Duration::from_millis(400);

/// A picture: rows of red, green and blue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Picture {
    /// As it is drawn.
    pub fn image(&self) -> Image {
        Image::from_rgb8(SharedPixelBuffer::<Rgb8Pixel>::clone_from_slice(&self.rgb, self.width, self.height))
    }

    /// No wider than so many pixels: each is the average of those it stands for, so that text stays readable.
    fn at_most(self, width: u32) -> Self {
        if self.width <= width || width == 0 {
            return self;
        }
        let height = u32::try_from(u64::from(self.height) * u64::from(width) / u64::from(self.width)).unwrap_or(1).max(1);
        let part = |index: u32, of: u32, all: u32| (u64::from(index) * u64::from(all) / u64::from(of)) as usize;
        let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
        for y in 0..height {
            let rows = part(y, height, self.height)..part(y + 1, height, self.height).max(part(y, height, self.height) + 1);
            for x in 0..width {
                let columns = part(x, width, self.width)..part(x + 1, width, self.width).max(part(x, width, self.width) + 1);
                let (mut sum, mut count) = ([0_u32; 3], 0_u32);
                for row in rows.clone() {
                    let start = row * self.width as usize;
                    let pixels = self.rgb.get((start + columns.start) * 3..(start + columns.end) * 3).unwrap_or_default();
                    for pixel in pixels.as_chunks::<3>().0 {
                        sum.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += u32::from(*value));
                        count += 1;
                    }
                }
                rgb.extend(sum.map(|sum| u8::try_from(sum / count.max(1)).unwrap_or(u8::MAX)));
            }
        }
        Self { width, height, rgb }
    }
}

/// The picture that a bundle holds of what its machine showed last, no wider than so many pixels.
pub fn last(bundle: &Path, width: u32) -> Option<Picture> {
    let (bytes, _) = Folder::open(bundle).ok()?.read(Path::new("screenshot.png"), MOST).ok()?;
    decoded(&bytes).map(|picture| picture.at_most(width))
}

fn decoded(bytes: &[u8]) -> Option<Picture> {
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: MOST });
    decoder.set_transformations(png::Transformations::normalize_to_color8() | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info().ok()?;
    let length = reader.output_buffer_size().filter(|length| *length <= MOST)?;
    let mut pixels = vec![0; length];
    let info = reader.next_frame(&mut pixels).ok()?;
    pixels.truncate(info.buffer_size());
    let rgb = match info.color_type {
        png::ColorType::Rgb => pixels,
        png::ColorType::Rgba => pixels.as_chunks::<4>().0.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect(),
        png::ColorType::Grayscale => pixels.iter().flat_map(|value| [*value; 3]).collect(),
        png::ColorType::GrayscaleAlpha => pixels.as_chunks::<2>().0.iter().flat_map(|[value, _]| [*value; 3]).collect(),
        png::ColorType::Indexed => return None,
    };
    let is_whole = rgb.len() == info.width as usize * info.height as usize * 3;
    is_whole.then_some(Picture { width: info.width, height: info.height, rgb })
}

/// Sends what a running machine shows, a few times a second at most and only when it has changed, until it ends or nobody listens any more.
pub async fn follow(library: Library, machine: Machine, width: u32, pictures: Sender<Picture>) {
    if let Err(error) = watch(&library, &machine, width, &pictures).await {
        tracing::debug!(machine = machine.name, "No picture: {error:#}");
    }
}

async fn watch(library: &Library, machine: &Machine, width: u32, pictures: &Sender<Picture>) -> anyhow::Result<()> {
    let Some(client) = library.client(machine).await? else { return Ok(()) };
    let viewer = client.viewer().await?;
    let heads = viewer.heads().await?;
    let Some(first) = heads.first() else { return Ok(()) };
    let mut head = viewer.open(first.index).await?;
    while let Some(update) = head.frames.next().await {
        if let Shown::Surface(surface) = &update.shown
            && (update.replaced || !update.damage.is_empty())
        {
            let picture = taken(surface)?.at_most(width);
            if pictures.send(picture).await.is_err() {
                break;
            }
        }
        tokio::time::sleep(PACE).await;
    }
    Ok(())
}

fn taken(surface: &Surface) -> std::io::Result<Picture> {
    let size = surface.size();
    Ok(Picture { width: size.width, height: size.height, rgb: surface.to_rgb()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32, rgb: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header().unwrap().write_image_data(rgb).unwrap();
        bytes
    }

    #[test]
    fn a_picture_is_as_wide_as_it_is_shown() {
        let picture = decoded(&png(4, 2, &[0, 0, 0, 255, 255, 255].repeat(4))).unwrap();
        assert_eq!((picture.width, picture.height), (4, 2));
        let small = picture.clone().at_most(2);
        assert_eq!((small.width, small.height, small.rgb), (2, 1, vec![127; 6]));
        assert_eq!(picture.clone().at_most(4), picture);
    }

    #[test]
    fn what_is_no_picture_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(last(folder.path(), 10), None);
        std::fs::write(folder.path().join("screenshot.png"), b"nonsense").unwrap();
        assert_eq!(last(folder.path(), 10), None);
        std::fs::write(folder.path().join("screenshot.png"), png(1, 1, &[1, 2, 3])).unwrap();
        assert_eq!(last(folder.path(), 10).unwrap().rgb, [1, 2, 3]);
    }
}
