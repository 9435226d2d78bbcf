import { describe, expect, it } from "vitest";
import { formatCell, formatEnd, formatWeight } from "../src/format";
import { countTokens, label, preview, visible, wordsOf } from "../src/tokens";

describe("labels", () => {
  it.each([
    [" ", "␣"],
    ["  the", "␣␣the"],
    ["New York", "New York"],
    ["\n", "⏎"],
    ["\t", "⇥"],
    ["\r\n", "␍⏎"],
    ["\u200d", "\\u{200d}"],
    ["\ufeff", "\\u{feff}"],
    ["\u202e", "\\u{202e}"],
    ["\u00a0", "\\u{a0}"],
    ["\u0007", "\\u{7}"],
    ["\u0301", "◌\u0301"],
    ["<s>", "<s>"],
    ["</script>", "</script>"],
    ["😀", "😀"],
    ["👩‍🔬", "👩‍🔬"],
    ["👩🏽‍🔬", "👩🏽‍🔬"],
    ["مرحبا", "مرحبا"],
    ["漢字", "漢字"],
  ])("%j is shown as %j", (text, expected) => {
    expect(visible(text)).toBe(expected);
  });

  it.each([
    ["", "ðŁ", "‹F0 9F›"],
    ["\ufffd", "ĺĢ", "‹98 80›"],
    ["", "<0x0A>", "‹0A›"],
    ["", "##ing", "##ing"],
    ["", "", "(empty)"],
    ["the", "Ġthe", "the"],
  ])("text %j of piece %j is labelled %j", (text, piece, expected) => {
    expect(label(text, piece)).toBe(expected);
  });
});

describe("folded tokens", () => {
  const folded = {
    piece: ["the", "Ċ", "[SEP]"],
    text: ["the", "\n", "[SEP]"],
    gap: [" ", "", ""],
    special: [0, 0, 1],
    segment: [0, 0, 1],
    index: [0, 1, 0, 0, 2],
  };

  it("unfold to one place per token in every list", () => {
    const { tokens, labels } = wordsOf(folded);
    expect(tokens).toEqual({
      piece: ["the", "Ċ", "the", "the", "[SEP]"],
      text: ["the", "\n", "the", "the", "[SEP]"],
      gap: [" ", "", " ", " ", ""],
      special: [0, 0, 0, 0, 1],
      segment: [0, 0, 0, 0, 1],
    });
    expect(labels).toEqual(["the", "⏎", "the", "the", "[SEP]"]);
    expect(countTokens(folded)).toBe(5);
    expect(countTokens(tokens)).toBe(5);
  });

  it("are previewed by their first words", () => {
    expect(preview(folded)).toBe("the \n the the [SEP]");
    const long = { ...folded, index: new Array(40000).fill(0) };
    expect(preview(long)).toBe("the the the the the the the …");
    expect(preview(wordsOf(long).tokens)).toBe(preview(long));
  });
});

describe("numbers", () => {
  it.each([
    [0, "0"],
    [0.31249, "0.312"],
    [0.001234, "0.00123"],
    [0.0001, "0.000100"],
    [0.00001, "1.00 × 10⁻⁵"],
    [6.1035e-11, "6.10 × 10⁻¹¹"],
    [1, "1.00"],
  ])("%d prints as %s", (weight, expected) => {
    expect(formatWeight(weight)).toBe(expected);
  });

  it("say how far they can be trusted", () => {
    expect(formatCell(0.3125, true)).toBe("0.313");
    expect(formatCell(0.3125, false)).toBe("≈ 0.313");
    expect(formatCell(Number.NaN, true)).toBe("not allowed by the mask");
    expect(formatCell(-1, false)).toBe("not known here");
    expect(formatCell(undefined, false)).toBe("not known here");
  });

  it("are short at the ends of a scale", () => {
    expect([0, 0.05, 0.6234, 1, 0.00001].map((end) => formatEnd(end))).toEqual([
      "0",
      "0.05",
      "0.62",
      "1",
      "1e-5",
    ]);
  });
});
