//! CLIP's byte-pair tokenizer.
//!
//! The vocabulary comes from a `tokenizer.json`, from `vocab.json` and `merges.txt`, or from
//! OpenAI's `bpe_simple_vocab_16e6.txt.gz`. All three are reduced to the same two tables and
//! drive the same model, so they give the same ids.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tch::Tensor;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::tokenizer::{AddedToken, SplitDelimiterBehavior};
use unicode_normalization::UnicodeNormalization;

use crate::checkpoint::{Fields, read_json, read_limited};
use crate::weights::expect_text;
use crate::{Error, Result};

/// The name of OpenAI's vocabulary file.
pub const OPENAI_VOCABULARY: &str = "bpe_simple_vocab_16e6.txt.gz";

/// Merges that OpenAI's tokenizer reads from its file: the vocabulary without bytes, bytes that
/// end a word, and the two special tokens.
const OPENAI_MERGES: usize = 49_152 - 256 - 2;
/// The largest vocabulary file read, unpacked.
const MAX_VOCABULARY: u64 = 64 << 20;
/// Letters, digits one by one, English contractions, and runs of anything else.
const WORDS: &str = r"(?i)'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+";

/// Turns text into token ids.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    model: tokenizers::Tokenizer,
    start: i64,
    end: i64,
    context: usize,
}

/// One text's tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Start of text, the text's ids, end of text; at most the context length of them.
    pub ids: Vec<i64>,
    /// Whether the text was too long and was truncated.
    pub truncated: bool,
}

impl Tokenizer {
    /// Reads a vocabulary for texts of `context` tokens (77 in CLIP).
    ///
    /// `path` is a `tokenizer.json`, a `vocab.json` with `merges.txt` beside it, a
    /// `bpe_simple_vocab_16e6.txt.gz`, or a folder that holds one of these.
    ///
    /// # Errors
    /// [`Error::NoTokenizer`] if the folder holds none, [`Error::Io`] and
    /// [`Error::Malformed`] for files that cannot be read or are not a vocabulary,
    /// [`Error::Config`] for a context that has no room for a token.
    pub fn open(path: &Path, context: i64) -> Result<Self> {
        let file = match path.is_dir() {
            true => Self::find(path).ok_or_else(|| Error::NoTokenizer { path: path.into() })?,
            false => path.to_owned(),
        };
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let tables = if name.ends_with(".gz") || name.ends_with(".txt") {
            Tables::from_openai(&file)?
        } else if name == "vocab.json" {
            Tables::from_vocab_and_merges(&file)?
        } else {
            Tables::from_tokenizer_json(&file)?
        };
        tables.build(&file, context)
    }

    /// OpenAI's vocabulary for all checkpoints without their own: [`disk::data_path`].
    pub fn default_path() -> PathBuf {
        disk::data_path(OPENAI_VOCABULARY)
    }

    /// The vocabulary file in a folder.
    pub(crate) fn find(folder: &Path) -> Option<PathBuf> {
        let with_merges =
            |path: &PathBuf| !path.ends_with("vocab.json") || folder.join("merges.txt").is_file();
        ["tokenizer.json", "vocab.json", OPENAI_VOCABULARY]
            .iter()
            .map(|name| folder.join(name))
            .find(|path| path.is_file() && with_merges(path))
    }

    /// The id that begins every text.
    pub fn start_of_text(&self) -> i64 {
        self.start
    }

    /// The id that ends every text, the largest of the vocabulary.
    pub fn end_of_text(&self) -> i64 {
        self.end
    }

    /// C, the maximum number of tokens of a text, start and end included.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The ids of `text` only, without start and end, of any number.
    ///
    /// User input never becomes a special token: `<|endoftext|>` is ordinary text.
    pub fn pieces(&self, text: &str) -> Vec<i64> {
        // Every byte has a token, so there is no text without an encoding.
        self.model
            .encode_fast(clean(text), false)
            .map(|encoding| encoding.get_ids().iter().map(|&id| id.into()).collect())
            .unwrap_or_default()
    }

    /// The ids of `text` between start and end. A text that is too long is truncated
    /// before the end token.
    pub fn encode(&self, text: &str) -> Tokens {
        let pieces = self.pieces(text);
        let room = self.context - 2;
        let truncated = pieces.len() > room;
        let mut ids = Vec::with_capacity(pieces.len().min(room) + 2);
        ids.push(self.start);
        ids.extend(pieces.into_iter().take(room));
        ids.push(self.end);
        Tokens { ids, truncated }
    }

    /// The vocabulary as a `tokenizer.json` for Hugging Face's libraries, which clean text less
    /// thoroughly: composed accents, single spaces, lower case. `path`, where it will be, is for messages.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it has no such form.
    pub(crate) fn to_json(&self, path: &Path) -> Result<String> {
        let failed = |error: tokenizers::Error| malformed(path, "vocabulary", &error.to_string());
        let spaces = Replace::new(ReplacePattern::Regex(r"\s+".into()), " ").map_err(failed)?;
        let [start, end] = ["<|startoftext|>", "<|endoftext|>"];
        let mut model = self.model.clone();
        let cleaning = vec![NFC.into(), spaces.into(), Lowercase.into()];
        let cleaning = Some(Normalizers::new(cleaning));
        model.with_normalizer(cleaning).map_err(failed)?;
        let special = [start, end].map(|word| AddedToken::from(word, true));
        model.add_special_tokens(special).map_err(failed)?;
        let id = |word: &str| (word.to_owned(), model.token_to_id(word).unwrap_or_default());
        let around = RobertaProcessing::new(id(end), id(start));
        model.with_post_processor(Some(around.trim_offsets(false).add_prefix_space(false)));
        model.to_string(true).map_err(failed)
    }

    /// The ids of several texts, padded with 0: `[N, C]`, int64.
    pub fn encode_batch<S: AsRef<str>>(&self, texts: &[S]) -> Tensor {
        let mut ids = Vec::with_capacity(texts.len() * self.context);
        for (row, text) in texts.iter().enumerate() {
            ids.extend(self.encode(text.as_ref()).ids);
            ids.resize((row + 1) * self.context, 0);
        }
        Tensor::from_slice(&ids).view([texts.len() as i64, self.context as i64])
    }
}

/// The common form of all vocabularies.
struct Tables {
    vocabulary: Vocab,
    merges: Vec<(String, String)>,
    start: u32,
    end: u32,
}

impl Tables {
    fn from_tokenizer_json(path: &Path) -> Result<Self> {
        let value = read_json(path)?;
        let root = Fields::of(path, &value)?;
        let model = root
            .object("model", "model.")?
            .ok_or_else(|| root.wrong("model", "an object", "absent"))?;
        // Some writers leave the type out.
        if let Some(other) = model.text("type")?.filter(|&kind| kind != "BPE") {
            return Err(model.unsupported("type", &format!("the tokenizer model {other}")));
        }
        if model.text("end_of_word_suffix")? != Some("</w>") {
            return Err(model.unsupported("end_of_word_suffix", "a suffix other than </w>"));
        }
        let vocabulary = vocabulary(path, model.present("vocab"))?;
        let merges = match model.present("merges") {
            Some(Value::Array(merges)) => merges
                .iter()
                .map(|merge| match merge {
                    Value::String(line) => split_merge(line),
                    Value::Array(pair) => match pair.as_slice() {
                        [Value::String(a), Value::String(b)] => Some((a.clone(), b.clone())),
                        _ => None,
                    },
                    _ => None,
                })
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| malformed(path, "model.merges", "not pairs of strings"))?,
            _ => return Err(malformed(path, "model.merges", "not a list")),
        };
        Self::with_special_tokens(path, vocabulary, merges)
    }

    fn from_vocab_and_merges(path: &Path) -> Result<Self> {
        let vocabulary = vocabulary(path, Some(&read_json(path)?))?;
        let merges_path = path.with_file_name("merges.txt");
        let text = utf8(&merges_path, read_limited(&merges_path, MAX_VOCABULARY)?)?;
        let merges = text
            .lines()
            .filter(|line| !line.starts_with("#version") && !line.trim().is_empty())
            .map(split_merge)
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| malformed(&merges_path, "merges", "a line that is not a pair"))?;
        Self::with_special_tokens(path, vocabulary, merges)
    }

    fn with_special_tokens(
        path: &Path,
        vocabulary: Vocab,
        merges: Vec<(String, String)>,
    ) -> Result<Self> {
        let special = |name: &str| {
            let id = vocabulary.get(name).copied();
            id.ok_or_else(|| malformed(path, name, "not in the vocabulary"))
        };
        let (start, end) = (special("<|startoftext|>")?, special("<|endoftext|>")?);
        Ok(Self {
            vocabulary,
            merges,
            start,
            end,
        })
    }

    /// OpenAI's list of merges; ids are positions: bytes, bytes that end a word, merges, start,
    /// end.
    fn from_openai(path: &Path) -> Result<Self> {
        let mut bytes = read_limited(path, MAX_VOCABULARY)?;
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut unpacked = Vec::new();
            flate2::read::MultiGzDecoder::new(bytes.as_slice())
                .take(MAX_VOCABULARY + 1)
                .read_to_end(&mut unpacked)
                .map_err(|e| malformed(path, "gzip", &e.to_string()))?;
            if unpacked.len() as u64 > MAX_VOCABULARY {
                return Err(malformed(path, "gzip", "unpacks to more than 64 MiB"));
            }
            bytes = unpacked;
        }
        let text = utf8(path, bytes)?;
        let merges: Vec<_> = text
            .lines()
            .skip(1)
            .take(OPENAI_MERGES)
            .map(split_merge)
            .collect::<Option<_>>()
            .ok_or_else(|| malformed(path, "merges", "a line that is not a pair"))?;
        if merges.len() < OPENAI_MERGES {
            let reason = format!("{} of {OPENAI_MERGES} merges", merges.len());
            return Err(malformed(path, "merges", &reason));
        }
        let bytes = byte_symbols();
        let words = bytes
            .iter()
            .map(char::to_string)
            .chain(bytes.iter().map(|symbol| format!("{symbol}</w>")))
            .chain(merges.iter().map(|(a, b)| format!("{a}{b}")));
        let vocabulary: Vocab = words.zip(0..).collect();
        let start = 512 + OPENAI_MERGES as u32;
        Ok(Self {
            vocabulary,
            merges,
            start,
            end: start + 1,
        })
    }

    fn build(self, path: &Path, context: i64) -> Result<Tokenizer> {
        // Two special tokens and one of text.
        if !(3..=1 << 16).contains(&context) {
            return Err(Error::Config {
                field: "text.context".into(),
                expected: "3 to 65,536".into(),
                got: context.to_string(),
            });
        }
        for symbol in byte_symbols() {
            for word in [symbol.to_string(), format!("{symbol}</w>")] {
                if !self.vocabulary.contains_key(&word) {
                    return Err(malformed(path, &word, "a byte without a token"));
                }
            }
        }
        let refused = |e: tokenizers::Error| malformed(path, "merges", &e.to_string());
        let bpe = BPE::builder()
            .vocab_and_merges(self.vocabulary, self.merges)
            .end_of_word_suffix("</w>".into())
            .build()
            .map_err(refused)?;
        let words = Split::new(
            SplitPattern::Regex(WORDS.into()),
            SplitDelimiterBehavior::Removed,
            true,
        )
        .map_err(refused)?;
        let bytes = ByteLevel::new(false, false, false);
        let mut model = tokenizers::Tokenizer::new(bpe);
        model.with_pre_tokenizer(Some(Sequence::new(vec![words.into(), bytes.into()])));
        Ok(Tokenizer {
            model,
            start: self.start.into(),
            end: self.end.into(),
            context: context as usize,
        })
    }
}

/// The cleaning CLIP was trained with: HTML entities (twice: web text is often escaped twice),
/// ligatures and full-width letters decomposed, straight quotes, no control characters,
/// composed accents, single spaces, lower case.
///
/// These are `ftfy`'s repairs of correctly decoded text; its mojibake heuristics are left out.
fn clean(text: &str) -> String {
    let text = htmlize::unescape(htmlize::unescape(text));
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{fb05}' => plain.push_str("\u{17f}t"),
            // Ligatures and digraphs, full-width and half-width forms.
            '\u{132}'
            | '\u{133}'
            | '\u{149}'
            | '\u{1c4}'..='\u{1cc}'
            | '\u{1f1}'..='\u{1f3}'
            | '\u{fb00}'..='\u{fb06}'
            | '\u{ff01}'..='\u{ffef}' => {
                plain.extend(std::iter::once(c).nfkc().map(straight_quote));
            }
            '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' => plain.push(' '),
            '\0'..='\u{1f}'
            | '\u{7f}'
            | '\u{206a}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffc}' => {}
            _ => plain.push(straight_quote(c)),
        }
    }
    let plain: String = plain.nfc().collect();
    plain
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .to_lowercase()
}

/// Typographic quotes to straight ones; anything else unchanged.
fn straight_quote(c: char) -> char {
    match c {
        '\u{2bc}' | '\u{2018}'..='\u{201b}' => '\'',
        '\u{201c}'..='\u{201f}' => '"',
        _ => c,
    }
}

/// The printable character that represents each byte, in the order of OpenAI's ids: printable
/// bytes as themselves, the others moved up by 256 in turn.
fn byte_symbols() -> Vec<char> {
    let printable = |byte: u32| {
        (0x21..=0x7e).contains(&byte)
            || (0xa1..=0xac).contains(&byte)
            || (0xae..=0xff).contains(&byte)
    };
    let own = (0..256).filter(|&byte| printable(byte));
    let moved = (0..256)
        .filter(|&byte| !printable(byte))
        .zip(256..)
        .map(|(_, to)| to);
    own.chain(moved).filter_map(char::from_u32).collect()
}

fn split_merge(line: &str) -> Option<(String, String)> {
    let mut parts = line.split_whitespace();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(a), Some(b), None) => Some((a.into(), b.into())),
        _ => None,
    }
}

/// A table of tokens, with unique ids in a sensible range.
fn vocabulary(path: &Path, value: Option<&Value>) -> Result<Vocab> {
    let Some(Value::Object(map)) = value else {
        return Err(malformed(path, "vocab", "not an object"));
    };
    let mut seen = HashSet::new();
    map.iter()
        .map(|(word, id)| {
            let id = id
                .as_u64()
                .and_then(|id| u32::try_from(id).ok())
                .filter(|&id| id < 1 << 24 && seen.insert(id))
                .ok_or_else(|| malformed(path, word, "an id that is not a number or not unique"))?;
            Ok((word.clone(), id))
        })
        .collect()
}

fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String> {
    expect_text(path, &bytes)?;
    String::from_utf8(bytes).map_err(|_| malformed(path, "text", "not UTF-8"))
}

fn malformed(path: &Path, item: &str, reason: &str) -> Error {
    Error::Malformed {
        path: path.into(),
        item: item.chars().take(80).collect(),
        reason: reason.into(),
    }
}
