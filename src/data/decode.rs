//! Image files to bytes: JPEG, PNG, WebP, BMP and the first frame of a GIF; then the part of a picture that makes an image of
//! the data set's shape.
//!
//! A picture is as people see it: turned as its EXIF data say, grey, palette, 16-bit and CMYK pixels as bytes of grey or RGB,
//! without alpha unless it is asked for. Grey out of colour is Y = 0.299 R + 0.587 G + 0.114 B, as in a JPEG. Resizing averages
//! over the source pixels that an output pixel covers (a triangle filter, as Pillow's `BILINEAR`).
//!
//! JPEGs are decoded by zune-jpeg. For 500×375 pixels at quality 90 it takes 0.80 ms, libjpeg-turbo (as Pillow calls it) 0.74
//! and jpeg-decoder 1.00; decoding at half the size saves the last two 0.07 and 0.11 ms, as most of the time is the entropy
//! code's, so there is no second decoder for that. What a file that is cut off lacks is not made up: the file is broken.

use super::ImageShape;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x2, U8x3, U8x4};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};
use image::metadata::Orientation;
use image::{DynamicImage, ImageBuffer, ImageDecoder, ImageFormat, ImageReader, Limits, Pixel};
use std::cell::RefCell;
use std::io::Cursor;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};

/// The longest side of a picture that is read.
const LONGEST: usize = 1 << 15;
/// Pixels of a picture that is read.
const MAX_PIXELS: usize = 1 << 27;
/// Bytes that the reading of a picture other than a JPEG may take.
const MAX_BYTES: u64 = 1 << 29;

/// Whether a file's name says that it is an image that [`decode`] reads.
pub fn is_named_as_one(name: &str) -> bool {
    let known = ["jpg", "jpeg", "jpe", "png", "webp", "bmp", "gif"];
    name.rsplit_once('.').is_some_and(|(_, end)| known.iter().any(|known| end.eq_ignore_ascii_case(known)))
}

/// A decoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Its extents.
    pub shape: ImageShape,
    /// Rows, columns, channels.
    pub pixels: Vec<u8>,
}

/// Decodes an image file into 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGBA) channels; without a number into 1 where the
/// file is grey, else 3.
///
/// # Errors
/// What is wrong with the file: it is of no known kind, damaged, cut off, or larger than 2²⁷ pixels.
pub fn decode(file: &[u8], channels: Option<usize>) -> Result<Picture, String> {
    let format = image::guess_format(file).map_err(|_| match file {
        [] => "the file is empty".to_owned(),
        _ => "it is no JPEG, PNG, WebP, BMP or GIF".to_owned(),
    })?;
    let (picture, orientation) = match format {
        ImageFormat::Jpeg => jpeg(file, channels)?,
        _ => other(file, format, channels)?,
    };
    Ok(if orientation == Orientation::NoTransforms { picture } else { picture.turned(orientation) })
}

fn jpeg(file: &[u8], channels: Option<usize>) -> Result<(Picture, Orientation), String> {
    if !is_whole_jpeg(file) {
        return Err("the JPEG is cut off".to_owned());
    }
    let options = DecoderOptions::default().set_strict_mode(false).set_max_width(LONGEST).set_max_height(LONGEST);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    let failed = |e: DecodeErrors| format!("damaged JPEG: {}", e.to_string().trim());
    decoder.decode_headers().map_err(failed)?;
    let (Some((w, h)), Some(space)) = (decoder.dimensions(), decoder.input_colorspace()) else {
        return Err("damaged JPEG: no size".to_owned());
    };
    check_size(w, h)?;
    let grey = space == ColorSpace::Luma;
    let channels = channels.unwrap_or(if grey { 1 } else { 3 });
    let luma = grey || (channels < 3 && space == ColorSpace::YCbCr);
    decoder.set_options(options.jpeg_set_out_colorspace(if luma { ColorSpace::Luma } else { ColorSpace::RGB }));
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let decoded = decoder.decode().map_err(failed)?;
    let c = if luma { 1 } else { 3 };
    if decoded.len() != w * h * c {
        return Err("damaged JPEG: its pixels are not all there".to_owned());
    }
    let pixels = if c == channels { decoded } else { recoloured(&decoded, c, channels) };
    Ok((Picture { shape: ImageShape::new(h, w, channels), pixels }, orientation.unwrap_or(Orientation::NoTransforms)))
}

/// Whether a JPEG has its end: the marker EOI, behind the headers, which may hold a small JPEG of their own.
fn is_whole_jpeg(file: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[0xff, marker, high, low]) = file.get(at..at + 4) {
        if marker == 0xff {
            at += 1;
            continue;
        }
        if marker == 0xda {
            break;
        }
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
    }
    file.get(at..).is_some_and(|scans| scans.windows(2).rev().any(|two| two == [0xff, 0xd9]))
}

fn other(file: &[u8], format: ImageFormat, channels: Option<usize>) -> Result<(Picture, Orientation), String> {
    let known = [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Gif];
    if !known.contains(&format) {
        return Err("it is no JPEG, PNG, WebP, BMP or GIF".to_owned());
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST as u32);
    limits.max_image_height = Some(LONGEST as u32);
    limits.max_alloc = Some(MAX_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(file), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    let (w, h) = decoder.dimensions();
    check_size(w as usize, h as usize)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    let channels = channels.unwrap_or(if image.color().has_color() { 3 } else { 1 });
    let (w, h) = (image.width() as usize, image.height() as usize);
    let pixels = match channels {
        // The crate's own grey has other weights.
        1 if !image.color().has_color() => image.into_luma8().into_raw(),
        2 if !image.color().has_color() => image.into_luma_alpha8().into_raw(),
        1 => recoloured(&image.into_rgb8().into_raw(), 3, 1),
        2 => {
            let rgba = image.into_rgba8().into_raw();
            rgba.chunks_exact(4).flat_map(|p| [luma(p), p[3]]).collect()
        }
        3 => image.into_rgb8().into_raw(),
        _ => image.into_rgba8().into_raw(),
    };
    Ok((Picture { shape: ImageShape::new(h, w, channels), pixels }, orientation))
}

fn check_size(w: usize, h: usize) -> Result<(), String> {
    if w == 0 || h == 0 {
        return Err("it has no pixels".to_owned());
    }
    if w > LONGEST || h > LONGEST || w * h > MAX_PIXELS {
        return Err(format!("it claims {w}×{h} pixels; at most {LONGEST} a side and {MAX_PIXELS} in all are read"));
    }
    Ok(())
}

/// 0.299 R + 0.587 G + 0.114 B, rounded.
fn luma(pixel: &[u8]) -> u8 {
    let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
    ((19_595 * r + 38_470 * g + 7_471 * b + (1 << 15)) >> 16) as u8
}

/// Pixels of 1 or 3 channels in other channels.
fn recoloured(pixels: &[u8], from: usize, to: usize) -> Vec<u8> {
    match (from, to) {
        (1, 2) => pixels.iter().flat_map(|&y| [y, 255]).collect(),
        (1, 3) => pixels.iter().flat_map(|&y| [y, y, y]).collect(),
        (1, _) => pixels.iter().flat_map(|&y| [y, y, y, 255]).collect(),
        (_, 1) => pixels.chunks_exact(3).map(luma).collect(),
        (_, 2) => pixels.chunks_exact(3).flat_map(|p| [luma(p), 255]).collect(),
        (_, _) => pixels.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect(),
    }
}

impl Picture {
    /// The picture of planes of grey, or of blue, green and red, in `channels` channels.
    pub(super) fn of_planes(planes: &[u8], shape: ImageShape, channels: usize) -> Self {
        let ImageShape { h, w, c } = shape;
        let plane = h * w;
        let pixels: Vec<u8> = match c {
            1 => planes.to_vec(),
            _ => (0..plane).flat_map(|i| [planes[2 * plane + i], planes[plane + i], planes[i]]).collect(),
        };
        let pixels = if c == channels { pixels } else { recoloured(&pixels, c, channels) };
        Self { shape: ImageShape::new(h, w, channels), pixels }
    }

    /// The picture, turned and mirrored.
    fn turned(self, orientation: Orientation) -> Self {
        let ImageShape { h, w, c } = self.shape;
        fn image<P: Pixel<Subpixel = u8>>(w: usize, h: usize, pixels: Vec<u8>) -> ImageBuffer<P, Vec<u8>> {
            ImageBuffer::from_raw(w as u32, h as u32, pixels).expect("a picture has as many bytes as its shape")
        }
        let mut image: DynamicImage = match c {
            1 => DynamicImage::ImageLuma8(image(w, h, self.pixels)),
            2 => DynamicImage::ImageLumaA8(image(w, h, self.pixels)),
            3 => DynamicImage::ImageRgb8(image(w, h, self.pixels)),
            _ => DynamicImage::ImageRgba8(image(w, h, self.pixels)),
        };
        image.apply_orientation(orientation);
        let shape = ImageShape::new(image.height() as usize, image.width() as usize, c);
        Self { shape, pixels: image.into_bytes() }
    }

    /// Makes an image of `part`, resized where it has another size.
    pub fn fit(&self, part: Part, to: ImageShape, pixels: &mut [u8]) {
        let ImageShape { h, w, c } = self.shape;
        debug_assert!(c == to.c && pixels.len() == to.bytes());
        let whole = |x: f64| (x - x.round()).abs() < 1e-6;
        if whole(part.left) && whole(part.top) && near(part.width, to.w) && near(part.height, to.h) {
            let (top, left) = (part.top.round() as usize, part.left.round() as usize);
            if top + to.h <= h && left + to.w <= w {
                for (row, to_row) in pixels.chunks_exact_mut(to.w * c).enumerate() {
                    to_row.copy_from_slice(&self.pixels[((top + row) * w + left) * c..][..to.w * c]);
                }
                return;
            }
        }
        let kinds = [resize::<U8>, resize::<U8x2>, resize::<U8x3>, resize::<U8x4>];
        kinds[c - 1](&self.pixels, self.shape, part, pixels, to);
    }
}

/// Fills the image `to` with `part` of a picture, both of pixels `P`. The type is known here so that the library is compiled for
/// these four alone, and not for all of its own.
fn resize<P: PixelTrait>(from: &[u8], shape: ImageShape, part: Part, to: &mut [u8], to_shape: ImageShape) {
    thread_local!(static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new()));
    let from = TypedImageRef::<P>::from_buffer(shape.w as u32, shape.h as u32, from);
    let from = from.expect("a picture has as many bytes as its shape");
    let to = TypedImage::<P>::from_buffer(to_shape.w as u32, to_shape.h as u32, to);
    let mut to = to.expect("an image has as many bytes as its shape");
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).use_alpha(false).crop(
        part.left,
        part.top,
        part.width,
        part.height,
    );
    let done = RESIZER.with_borrow_mut(|resizer| resizer.resize_typed(&from, &mut to, &options));
    done.expect("a part lies in its picture");
}

fn near(x: f64, n: usize) -> bool {
    (x - n as f64).abs() < 1e-6
}

/// A rectangle of a picture, in its pixels; it lies in the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// From the left edge.
    pub left: f64,
    /// From the top edge.
    pub top: f64,
    /// At least a little more than 0.
    pub width: f64,
    /// At least a little more than 0.
    pub height: f64,
}

impl Part {
    /// The largest part of a picture of `w` × `h` with the proportions of `to`, or, where the shorter side is resized to `size`,
    /// as much as then makes an image of `to`. `at` are two numbers in [0, 1): where in the room that is left it lies, in whole
    /// pixels of the resized picture.
    pub fn of(w: usize, h: usize, size: Option<usize>, to: ImageShape, at: At) -> Self {
        let (w, h) = (w as f64, h as f64);
        let cover = (to.w as f64 / w).max(to.h as f64 / h);
        // A size below the image's shape cannot be: the picture then covers the image.
        let scale = size.map_or(cover, |size| (size as f64 / w.min(h)).max(cover));
        let (width, height) = ((to.w as f64 / scale).min(w), (to.h as f64 / scale).min(h));
        let place = |room: f64, share: f64| {
            let room = room.max(0.0);
            let pixels = (room * scale + 1e-6).floor();
            match at {
                At::Centre => ((pixels / 2.0).floor() / scale).min(room),
                At::Random(..) => ((share * (pixels + 1.0)).floor() / scale).min(room),
            }
        };
        let (x, y) = if let At::Random(x, y) = at { (x, y) } else { (0.0, 0.0) };
        Self { left: place(w - width, x), top: place(h - height, y), width, height }
    }
}

/// Where a part lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum At {
    /// In the middle.
    Centre,
    /// At these shares, across and down, of the room there is.
    Random(f64, f64),
}
