//! Colours.

use alacritty_terminal::term::color::Colors;
use alacritty_terminal::vte::ansi::{Color, NamedColor, Rgb as Parsed};

/// A colour, eight bits a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rgb {
    /// Red.
    pub r: u8,
    /// Green.
    pub g: u8,
    /// Blue.
    pub b: u8,
}

impl Rgb {
    /// Of `0xRRGGBB`.
    pub const fn new(rgb: u32) -> Self {
        let [_, r, g, b] = rgb.to_be_bytes();
        Self { r, g, b }
    }

    /// So much of `other` in it, of 255.
    #[must_use]
    pub fn mix(self, other: Self, of_other: u8) -> Self {
        let part = |own: u8, other: u8| {
            let (own, other, share) = (u32::from(own), u32::from(other), u32::from(of_other));
            u8::try_from((own * (255 - share) + other * share + 127) / 255).unwrap_or(u8::MAX)
        };
        Self { r: part(self.r, other.r), g: part(self.g, other.g), b: part(self.b, other.b) }
    }
}

impl From<Parsed> for Rgb {
    fn from(colour: Parsed) -> Self {
        Self { r: colour.r, g: colour.g, b: colour.b }
    }
}

/// What the colours look like that a guest asks for by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Palette {
    /// Behind everything.
    pub ground: Rgb,
    /// Text.
    pub ink: Rgb,
    /// The cursor.
    pub cursor: Rgb,
    /// Behind what is selected.
    pub selection: Rgb,
    /// Black, red, green, yellow, blue, magenta, cyan, white, then the bright ones.
    pub named: [Rgb; 16],
}

impl Default for Palette {
    /// White on black, with the colours that terminals began with.
    fn default() -> Self {
        const NAMED: [u32; 16] = [
            0x00_0000, 0xcd_0000, 0x00_cd00, 0xcd_cd00, 0x00_00ee, 0xcd_00cd, 0x00_cdcd, 0xe5_e5e5, 0x7f_7f7f, 0xff_0000, 0x00_ff00,
            0xff_ff00, 0x5c_5cff, 0xff_00ff, 0x00_ffff, 0xff_ffff,
        ];
        Self {
            ground: Rgb::new(0),
            ink: Rgb::new(0xe5_e5e5),
            cursor: Rgb::new(0xe5_e5e5),
            selection: Rgb::new(0x40_4040),
            named: NAMED.map(Rgb::new),
        }
    }
}

impl Palette {
    /// One of the 256 colours: the sixteen, a cube of six shades, and greys (as xterm has them).
    pub fn indexed(&self, index: u8) -> Rgb {
        match index {
            0..16 => self.named.get(usize::from(index)).copied().unwrap_or(self.ink),
            16..232 => {
                let place = index - 16;
                let shade = |step: u8| if step == 0 { 0 } else { 55 + step * 40 };
                Rgb { r: shade(place / 36), g: shade(place / 6 % 6), b: shade(place % 6) }
            }
            232.. => {
                let grey = 8 + (index - 232) * 10;
                Rgb { r: grey, g: grey, b: grey }
            }
        }
    }

    /// By the number that the emulator has for a colour; what the guest has made of it counts first.
    pub(crate) fn numbered(&self, number: usize, changed: &Colors) -> Rgb {
        let own = (number < alacritty_terminal::term::color::COUNT).then(|| changed[number]).flatten();
        own.map_or_else(|| self.own(number), Rgb::from)
    }

    fn own(&self, number: usize) -> Rgb {
        if let Ok(index) = u8::try_from(number) {
            return self.indexed(index);
        }
        const DIM: usize = NamedColor::DimBlack as usize;
        const DIM_END: usize = NamedColor::DimWhite as usize;
        match number {
            number if number == NamedColor::Background as usize => self.ground,
            number if number == NamedColor::Cursor as usize => self.cursor,
            DIM..=DIM_END => self.dim(self.named.get(number - DIM).copied().unwrap_or(self.ink)),
            number if number == NamedColor::DimForeground as usize => self.dim(self.ink),
            _ => self.ink,
        }
    }

    /// A colour as the guest names it.
    pub(crate) fn colour(&self, colour: Color, changed: &Colors) -> Rgb {
        match colour {
            Color::Spec(rgb) => rgb.into(),
            Color::Indexed(index) => self.numbered(usize::from(index), changed),
            Color::Named(name) => self.numbered(name as usize, changed),
        }
    }

    /// Weaker.
    pub(crate) fn dim(&self, colour: Rgb) -> Rgb {
        colour.mix(self.ground, 90)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_256_colours_are_xterms() {
        let palette = Palette::default();
        assert_eq!(palette.indexed(16), Rgb::new(0));
        assert_eq!(palette.indexed(196), Rgb::new(0xff_0000));
        assert_eq!(palette.indexed(110), Rgb::new(0x87_afd7));
        assert_eq!((palette.indexed(232), palette.indexed(255)), (Rgb::new(0x08_0808), Rgb::new(0xee_eeee)));
        for number in 0..300 {
            let _ = palette.numbered(number, &Colors::default());
        }
    }

    #[test]
    fn colours_mix() {
        let (black, white) = (Rgb::new(0), Rgb::new(0xff_ffff));
        assert_eq!((black.mix(white, 0), black.mix(white, 255), black.mix(white, 128)), (black, white, Rgb::new(0x80_8080)));
    }
}
