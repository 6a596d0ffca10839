//! What a machine shows.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// A picture, three bytes a pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// Reads a PNG file.
    ///
    /// # Panics
    /// Where it is none of three or four bytes a pixel.
    pub fn read(path: &Path) -> Self {
        let reader = png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info();
        let mut reader = reader.unwrap_or_else(|error| panic!("no PNG ({error}): {}", path.display()));
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut bytes).unwrap();
        let samples = frame.color_type.samples();
        assert!(samples >= 3, "not in colour: {frame:?}");
        let pixels = bytes[..frame.buffer_size()].chunks_exact(samples).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
        Self { width: frame.width, height: frame.height, pixels }
    }

    /// Red, green and blue of every pixel, row by row.
    pub fn rgb(&self) -> Vec<u8> {
        self.pixels.concat()
    }

    /// How many pixels are not black.
    pub fn lit(&self) -> usize {
        self.pixels.iter().filter(|pixel| pixel.iter().any(|part| *part > 32)).count()
    }

    /// How many rows are lit over at least this share of their width.
    #[expect(clippy::cast_precision_loss, reason = "a picture has few pixels for that")]
    pub fn rules(&self, share: f64) -> usize {
        let rows = self.pixels.chunks_exact(self.width.max(1) as usize);
        let lit = |row: &[[u8; 3]]| row.iter().filter(|pixel| pixel.iter().any(|part| *part > 32)).count() as f64;
        rows.filter(|row| lit(row) >= share * row.len() as f64).count()
    }

    /// The bar that GRUB's menu has on the selected entry, wherever in the picture that is: how far down it begins, and how long it is.
    /// Nothing where there is none: the menu's frame is as long, and thin.
    pub fn grubs_selection(&self) -> Option<(usize, usize)> {
        let grey = |pixel: &[u8; 3]| pixel.iter().all(|part| (150..=190).contains(part));
        let rows = self.pixels.chunks_exact(self.width.max(1) as usize);
        let lengths: Vec<usize> = rows.map(|row| row.iter().filter(|pixel| grey(pixel)).count()).collect();
        let longest = *lengths.iter().max()?;
        let is_bar = |rows: &[usize]| rows.iter().all(|length| *length > 200 && *length * 10 > longest * 7);
        let first = lengths.windows(6).position(is_bar)?;
        Some((first, longest))
    }

    /// How many colours there are.
    pub fn colours(&self) -> usize {
        self.pixels.iter().collect::<BTreeSet<_>>().len()
    }

    /// The share of the pixels that a test is true for, from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a picture has few pixels for that")]
    pub fn share(&self, is: impl Fn([u8; 3]) -> bool) -> f64 {
        self.pixels.iter().filter(|pixel| is(**pixel)).count() as f64 / self.pixels.len() as f64
    }
}
