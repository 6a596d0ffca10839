//! Rows as pixels.
//!
//! Letters are drawn on a grid of whole pixels: the font's size is chosen so that a letter is a whole number of them wide. Lines of tables,
//! and blocks, are drawn here and not from the font, so that they meet.

use std::collections::HashMap;

use swash::FontRef;
use swash::scale::{Render, ScaleContext, Source};
use swash::zeno::{Angle, Format, Transform};
use unicode_width::UnicodeWidthChar as _;

use crate::{Rgb, Row, Run, Shape, Underline, boxes};

/// Letters that are kept as pixels. A guest can show more than that, and then they are drawn again.
const MOST_LETTERS: usize = 2048;
/// How far slanted letters lean.
const SLANT: f32 = 12.0;

/// The size of a cell, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// Its width.
    pub width: usize,
    /// Its height.
    pub height: usize,
}

/// A letter as pixels.
struct Letter {
    /// From the cell's left.
    left: i32,
    /// From the cell's top.
    top: i32,
    width: usize,
    /// How much of each pixel it covers, row by row.
    cover: Vec<u8>,
}

/// What draws rows.
pub struct Painter {
    fonts: [FontRef<'static>; 2],
    context: ScaleContext,
    letters: HashMap<(char, bool, bool), Option<Letter>>,
    cell: Cell,
    /// Pixels of an em.
    size: f32,
    baseline: i32,
    stroke: usize,
    underline: usize,
}

impl Painter {
    /// Draws with these fonts, whose letters must all be as wide: upright ones, and bold ones. `size` is about how many pixels an em has.
    /// Nothing where a font cannot be read.
    pub fn new(regular: &'static [u8], bold: &'static [u8], size: f32) -> Option<Self> {
        let fonts = [FontRef::from_index(regular, 0)?, FontRef::from_index(bold, 0)?];
        let [regular, _] = fonts;
        let metrics = regular.metrics(&[]);
        let em = f32::from(metrics.units_per_em.max(1));
        let advance = regular.glyph_metrics(&[]).advance_width(regular.charmap().map('0')) / em;
        if !(0.2..=2.0).contains(&advance) {
            return None;
        }
        let width = (size.clamp(6.0, 200.0) * advance).round();
        let size = width / advance;
        let (ascent, descent) = (metrics.ascent / em * size, metrics.descent.abs() / em * size);
        let height = (ascent + descent).round();
        let baseline = ((height - ascent - descent) / 2.0 + ascent).round();
        let stroke = (metrics.stroke_size / em * size).round().max(1.0);
        let underline = (baseline - metrics.underline_offset / em * size).round().min(height - stroke);
        Some(Self {
            fonts,
            context: ScaleContext::new(),
            letters: HashMap::new(),
            cell: Cell { width: width as usize, height: height as usize },
            size,
            baseline: baseline as i32,
            stroke: stroke as usize,
            underline: underline as usize,
        })
    }

    /// The size of a cell.
    pub const fn cell(&self) -> Cell {
        self.cell
    }

    /// Draws a row into `pixels`, which are three bytes each and `width` in a line, for as many lines as a cell is high. What is beside the
    /// cells gets `ground`.
    pub fn paint(&mut self, row: &Row, ground: Rgb, pixels: &mut [u8], width: usize) {
        let mut canvas = Canvas { pixels: pixels.as_chunks_mut::<3>().0, width };
        canvas.fill(0, 0, width, self.cell.height, ground);
        // Grounds first: letters may lean into the next cell.
        for run in &row.runs {
            canvas.fill(run.column * self.cell.width, 0, run.cells * self.cell.width, self.cell.height, run.look.ground);
        }
        for run in &row.runs {
            self.paint_run(run, &mut canvas);
        }
        if let Some(cursor) = row.cursor {
            let (left, wide) = (cursor.column * self.cell.width, self.cell.width * if cursor.wide { 2 } else { 1 });
            let (high, line) = (self.cell.height, self.stroke.max(self.cell.width / 8));
            match cursor.shape {
                // Its cell has these colours already.
                Shape::Block => {}
                Shape::Beam => canvas.fill(left, 0, line, high, cursor.colour),
                Shape::Underline => canvas.fill(left, high.saturating_sub(line), wide, line, cursor.colour),
                Shape::Outline => {
                    canvas.fill(left, 0, wide, 1, cursor.colour);
                    canvas.fill(left, high - 1, wide, 1, cursor.colour);
                    canvas.fill(left, 0, 1, high, cursor.colour);
                    canvas.fill(left + wide - 1, 0, 1, high, cursor.colour);
                }
            }
        }
    }

    fn paint_run(&mut self, run: &Run, canvas: &mut Canvas<'_>) {
        let step = if run.wide { 2 } else { 1 };
        let mut place = None;
        for c in run.text.chars() {
            // A mark belongs to the letter before it.
            let at = match (c.width(), place) {
                (Some(0), Some(last)) => last,
                (_, None) => run.column,
                (_, Some(last)) => last + step,
            };
            place = Some(at);
            if c != ' ' {
                self.paint_letter(c, at * self.cell.width, step, run, canvas);
            }
        }
        let (left, wide) = (run.column * self.cell.width, run.cells * self.cell.width);
        let stroke = self.stroke;
        match run.look.underline {
            Underline::None => {}
            Underline::Single => canvas.fill(left, self.underline, wide, stroke, run.look.ink),
            Underline::Double => {
                canvas.fill(left, self.underline.saturating_sub(stroke * 2), wide, stroke, run.look.ink);
                canvas.fill(left, self.underline, wide, stroke, run.look.ink);
            }
            Underline::Broken => {
                for dot in (left..left + wide).step_by(stroke * 2) {
                    canvas.fill(dot, self.underline, stroke.min(left + wide - dot), stroke, run.look.ink);
                }
            }
        }
        if run.look.struck {
            let middle = usize::try_from(self.baseline).unwrap_or(0) - self.cell.height / 4;
            canvas.fill(left, middle, wide, stroke, run.look.ink);
        }
    }

    fn paint_letter(&mut self, c: char, left: usize, cells: usize, run: &Run, canvas: &mut Canvas<'_>) {
        let bounds = Cell { width: self.cell.width * cells, ..self.cell };
        let ink = run.look.ink;
        let drawn = boxes::draw(c, bounds, self.stroke, |x, y, width, height, cover| {
            canvas.blend(left + x, y, width, height, ink, cover);
        });
        if drawn {
            return;
        }
        let key = (c, run.look.bold, run.look.italic);
        if !self.letters.contains_key(&key) {
            if self.letters.len() >= MOST_LETTERS {
                self.letters.clear();
            }
            let letter = self.letter(key);
            self.letters.insert(key, letter);
        }
        match self.letters.get(&key) {
            Some(Some(letter)) => canvas.letter(letter, left, ink, self.cell.height),
            // The font does not have it.
            _ if c.width().is_some_and(|width| width > 0) => {
                let (inset, high) = (bounds.width / 6, self.cell.height);
                let (top, wide) = (high / 4, bounds.width.saturating_sub(2 * inset));
                let tall = usize::try_from(self.baseline).unwrap_or(high).saturating_sub(top);
                canvas.fill(left + inset, top, wide, 1, ink);
                canvas.fill(left + inset, top + tall.saturating_sub(1), wide, 1, ink);
                canvas.fill(left + inset, top, 1, tall, ink);
                canvas.fill(left + inset + wide.saturating_sub(1), top, 1, tall, ink);
            }
            _ => {}
        }
    }

    fn letter(&mut self, (c, bold, italic): (char, bool, bool)) -> Option<Letter> {
        let font = self.fonts[usize::from(bold)];
        let glyph = font.charmap().map(c);
        if glyph == 0 {
            return None;
        }
        let mut scaler = self.context.builder(font).size(self.size).hint(!italic).build();
        let slant = italic.then(|| Transform::skew(Angle::from_degrees(SLANT), Angle::ZERO));
        let image = Render::new(&[Source::Outline]).format(Format::Alpha).transform(slant).render(&mut scaler, glyph)?;
        let placement = image.placement;
        // Marks have no width of their own and are drawn before where they stand.
        let shift = if c.width() == Some(0) && placement.left < 0 { self.cell.width as i32 } else { 0 };
        Some(Letter {
            left: placement.left + shift,
            top: self.baseline - placement.top,
            width: placement.width as usize,
            cover: image.data,
        })
    }
}

/// Pixels that are drawn on. What is beside it is not drawn.
struct Canvas<'p> {
    pixels: &'p mut [[u8; 3]],
    width: usize,
}

impl Canvas<'_> {
    fn line(&mut self, y: usize, x: usize, width: usize) -> &mut [[u8; 3]] {
        let (from, to) = (x.min(self.width), x.saturating_add(width).min(self.width));
        let start = y.saturating_mul(self.width);
        self.pixels.get_mut(start.saturating_add(from)..start.saturating_add(to)).unwrap_or_default()
    }

    fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, colour: Rgb) {
        for y in y..y.saturating_add(height) {
            self.line(y, x, width).fill([colour.r, colour.g, colour.b]);
        }
    }

    fn blend(&mut self, x: usize, y: usize, width: usize, height: usize, ink: Rgb, cover: u8) {
        for y in y..y.saturating_add(height) {
            for pixel in self.line(y, x, width) {
                blend(pixel, ink, cover);
            }
        }
    }

    fn letter(&mut self, letter: &Letter, cell: usize, ink: Rgb, height: usize) {
        for (row, covers) in letter.cover.chunks_exact(letter.width.max(1)).enumerate() {
            let Ok(y) = usize::try_from(letter.top + row as i32) else { continue };
            if y >= height {
                break;
            }
            let left = cell as i32 + letter.left;
            // What leans out at the left of the first cell is not seen.
            let hidden = usize::try_from(-left).unwrap_or(0);
            let x = usize::try_from(left).unwrap_or(0);
            let covers = covers.get(hidden..).unwrap_or_default();
            for (pixel, cover) in self.line(y, x, covers.len()).iter_mut().zip(covers) {
                blend(pixel, ink, *cover);
            }
        }
    }
}

fn blend(pixel: &mut [u8; 3], ink: Rgb, cover: u8) {
    let [r, g, b] = *pixel;
    let mixed = match cover {
        0 => return,
        255 => ink,
        cover => Rgb { r, g, b }.mix(ink, cover),
    };
    *pixel = [mixed.r, mixed.g, mixed.b];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cursor, Palette, Size, Terminal};

    const REGULAR: &[u8] = include_bytes!("../../desktop/fonts/JetBrainsMono-Regular.ttf");
    const BOLD: &[u8] = include_bytes!("../../desktop/fonts/JetBrainsMono-Bold.ttf");

    fn painter() -> Painter {
        Painter::new(REGULAR, BOLD, 14.0).unwrap()
    }

    /// A row of four cells in which the guest has said this.
    fn painted(text: &str) -> (Vec<[u8; 3]>, Cell) {
        let mut terminal = Terminal::new(Size::new(4, 1));
        terminal.set_palette(Palette { ink: Rgb::new(0xff_ffff), ..Palette::default() });
        terminal.hear(format!("\x1b[?25l{text}").as_bytes());
        let mut painter = painter();
        let cell = painter.cell();
        let mut pixels = vec![7; cell.width * 4 * cell.height * 3];
        painter.paint(&terminal.rows(true)[0], Rgb::default(), &mut pixels, cell.width * 4);
        (pixels.as_chunks::<3>().0.to_vec(), cell)
    }

    fn lit(pixels: &[[u8; 3]]) -> usize {
        pixels.iter().filter(|pixel| pixel[0] > 100).count()
    }

    #[test]
    fn cells_are_whole_pixels() {
        assert_eq!(painter().cell(), Cell { width: 8, height: 18 });
        assert_eq!(Painter::new(REGULAR, BOLD, 28.0).unwrap().cell().width, 17);
        assert!(Painter::new(b"no font", BOLD, 14.0).is_none());
    }

    #[test]
    fn letters_are_in_their_cells() {
        let (pixels, cell) = painted("  M");
        for (column, expected) in [(0, false), (1, false), (2, true), (3, false)] {
            let inside: Vec<[u8; 3]> = pixels
                .chunks_exact(cell.width * 4)
                .flat_map(|line| line[column * cell.width..(column + 1) * cell.width].to_vec())
                .collect();
            assert_eq!(lit(&inside) > 10, expected, "{column}");
        }
        assert!(lit(&painted("\x1b[1mM").0) > lit(&painted("M").0));
    }

    #[test]
    fn lines_of_tables_meet_and_blocks_fill() {
        let (pixels, cell) = painted("───");
        let line = pixels.chunks_exact(cell.width * 4).position(|line| line[cell.width / 2][0] > 100).unwrap();
        assert_eq!(lit(&pixels[line * cell.width * 4..][..cell.width * 3]), cell.width * 3);
        assert_eq!(lit(&painted("████").0), cell.width * cell.height * 4);
        assert_eq!(lit(&painted("\x1b[7m    ").0), cell.width * cell.height * 4);
    }

    #[test]
    fn what_the_font_lacks_is_told_by_a_box() {
        assert!(lit(&painted("中").0) > 20);
        assert_eq!(lit(&painted("\x1b[8mM").0), 0);
    }

    #[test]
    fn nothing_is_drawn_beside_the_pixels_that_there_are() {
        let mut painter = painter();
        let look = crate::Look {
            ink: Rgb::new(0xff_ffff),
            ground: Rgb::default(),
            bold: true,
            italic: true,
            underline: Underline::Double,
            struck: true,
        };
        let run = Run { column: 90, cells: 20, text: "Wg\u{301}█┼中".into(), wide: false, look };
        for shape in [Shape::Block, Shape::Outline, Shape::Beam, Shape::Underline] {
            let cursor = Some(Cursor { column: 99, wide: true, shape, colour: Rgb::default() });
            for (bytes, width) in [(0, 0), (30, 10), (3 * 8 * 18, 8), (3 * 800 * 18, 800)] {
                painter.paint(&Row { runs: vec![run.clone()], cursor }, Rgb::default(), &mut vec![0; bytes], width);
            }
        }
    }
}
