//! The rows of a terminal as pictures. Only those are painted anew that have changed.

use std::rc::Rc;

use slint::{Image, Model as _, ModelRc, Rgb8Pixel, SharedPixelBuffer, VecModel};
use terminal::{Cell, Painter, Rgb, Row, Size};

use crate::TerminalLine;

const REGULAR: &[u8] = include_bytes!("../../fonts/JetBrainsMono-Regular.ttf");
const BOLD: &[u8] = include_bytes!("../../fonts/JetBrainsMono-Bold.ttf");

/// The letters' size, in logical pixels.
const LETTERS: f32 = 14.0;
/// The least and the most that they are made larger by.
const ZOOM: (i8, i8) = (-6, 18);

/// The rows of a terminal.
pub struct Lines {
    model: Rc<VecModel<TerminalLine>>,
    shown: Vec<Row>,
    painter: Painter,
    ground: Rgb,
    scale: f32,
    zoom: i8,
}

impl Lines {
    /// None yet. Nothing where the font cannot be read, which is part of this program.
    pub fn new() -> Option<Self> {
        let painter = Painter::new(REGULAR, BOLD, LETTERS)?;
        Some(Self { model: Rc::default(), shown: Vec::new(), painter, ground: Rgb::default(), scale: 1.0, zoom: 0 })
    }

    /// What is drawn.
    pub fn model(&self) -> ModelRc<TerminalLine> {
        ModelRc::from(self.model.clone())
    }

    /// The colour beside the letters. Everything is painted anew.
    pub fn set_ground(&mut self, ground: Rgb) {
        self.ground = ground;
        self.shown.clear();
    }

    /// How much larger the letters are than usual.
    pub const fn zoom(&self) -> i8 {
        self.zoom
    }

    /// Draws for so many pixels to a logical one, with letters so much larger than now. Everything is painted anew where that is another size.
    pub fn set_scale(&mut self, scale: f32, zoom_by: i8) {
        let zoom = self.zoom.saturating_add(zoom_by).clamp(ZOOM.0, ZOOM.1);
        if (scale - self.scale).abs() > f32::EPSILON || zoom != self.zoom {
            (self.scale, self.zoom) = (scale, zoom);
            if let Some(painter) = Painter::new(REGULAR, BOLD, (LETTERS + f32::from(zoom)) * scale) {
                self.painter = painter;
            }
            self.shown.clear();
        }
    }

    /// The size of a cell, in pixels.
    pub const fn cell(&self) -> Cell {
        self.painter.cell()
    }

    /// Shows these rows of so many cells; how many were painted.
    pub fn show(&mut self, rows: Vec<Row>, size: Size) -> usize {
        while self.model.row_count() > rows.len() {
            self.model.remove(self.model.row_count() - 1);
        }
        let width = size.columns * self.cell().width;
        let mut painted = 0;
        for (index, row) in rows.iter().enumerate() {
            if self.shown.get(index) == Some(row) && index < self.model.row_count() {
                continue;
            }
            painted += 1;
            let line = TerminalLine { text: row.text().into(), picture: self.paint(row, width) };
            if index < self.model.row_count() {
                self.model.set_row_data(index, line);
            } else {
                self.model.push(line);
            }
        }
        self.shown = rows;
        painted
    }

    fn paint(&mut self, row: &Row, width: usize) -> Image {
        let size = |length: usize| u32::try_from(length).unwrap_or(0);
        let mut buffer = SharedPixelBuffer::<Rgb8Pixel>::new(size(width), size(self.cell().height));
        self.painter.paint(row, self.ground, buffer.make_mut_bytes(), width);
        Image::from_rgb8(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use terminal::Terminal;

    #[test]
    fn only_rows_that_changed_are_painted() {
        let size = Size::new(20, 5);
        let mut terminal = Terminal::new(size);
        let mut lines = Lines::new().unwrap();
        let mut show = |terminal: &Terminal| lines.show(terminal.rows(true), size);
        assert_eq!(show(&terminal), 5);
        assert_eq!(show(&terminal), 0);
        terminal.hear(b"hello");
        assert_eq!(show(&terminal), 1);
        terminal.hear(b"\r\nworld");
        assert_eq!(show(&terminal), 2, "the cursor has gone from one to the other");
        lines.set_scale(1.0, 0);
        assert_eq!(lines.show(terminal.rows(true), size), 0);
        lines.set_scale(2.0, 0);
        assert_eq!(lines.show(terminal.rows(true), size), 5);
        let texts: Vec<_> = lines.model().iter().map(|line| line.text).collect();
        assert_eq!(texts, ["hello", "world", "", "", ""]);
        assert_eq!(lines.model().row_data(0).unwrap().picture.size().width, 20 * 17);
        assert_eq!(lines.show(terminal.rows(true)[..2].to_vec(), size), 0);
        assert_eq!(lines.model().row_count(), 2);
    }
}
