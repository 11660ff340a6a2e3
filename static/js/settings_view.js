/** The settings: a sheet over the page. What is chosen counts at once where it can. */

import { part, make, write } from "./dom.js";
import { fill, language as pageLanguage, texts } from "./strings.js";

/** @typedef {import("./types").Preferences} Preferences */
/** @typedef {import("./types").Offer} Offer */

/** What is typed is taken over when typing rests. */
const TYPING_MS = 500;

export class SettingsView {
  #sheet = part("sheet", HTMLDialogElement);
  #form = part("settings", HTMLFormElement);
  #voice = part("voice-choice", HTMLSelectElement);
  #language = part("language-choice", HTMLSelectElement);
  #preset = part("preset-choice", HTMLSelectElement);
  #presetNote = part("preset-note");
  #persona = part("persona", HTMLTextAreaElement);
  #microphone = part("microphone-choice", HTMLSelectElement);
  #speaker = part("speaker-choice", HTMLSelectElement);
  #volume = part("volume", HTMLInputElement);
  #volumeFigure = part("volume-figure");
  #opener = part("opener", HTMLInputElement);
  /** @type {Offer} */
  #offer = { voices: [], languages: [], language: "", presets: [] };
  /** @type {() => Preferences} */
  #chosen;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #typing;

  /**
   * @param {() => Preferences} chosen what is chosen now
   * @param {(wanted: Partial<Preferences>) => void} choose
   */
  constructor(chosen, choose) {
    this.#chosen = chosen;
    part("settings-open").addEventListener("click", () => this.open());
    part("settings-close").addEventListener("click", () => this.#sheet.close());
    this.#sheet.addEventListener("click", (event) => event.target === this.#sheet && this.#sheet.close());
    this.#form.addEventListener("submit", (event) => event.preventDefault());
    this.#form.addEventListener("change", ({ target }) => choose(this.#read(target)));
    this.#volume.addEventListener("input", () => choose({ volume: this.#volume.valueAsNumber }));
    this.#persona.addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => choose({ persona: this.#persona.value.trim() }), TYPING_MS);
    });
    navigator.mediaDevices?.addEventListener("devicechange", () => void this.#listDevices());
  }

  get isOpen() {
    return this.#sheet.open;
  }

  open() {
    void this.#listDevices();
    this.#sheet.showModal();
  }

  close() {
    this.#sheet.close();
  }

  /** @param {Offer} offer what may be chosen on this server */
  offer(offer) {
    this.#offer = offer;
    this.#fillOffer();
  }

  /**
   * @param {Preferences} chosen
   * @param {string} mode in force
   */
  render(chosen, mode) {
    const { elements } = this.#form;
    for (const element of elements) {
      if (!(element instanceof HTMLInputElement)) continue;
      const value = chosen[/** @type {keyof Preferences} */ (element.name)];
      if (element.type === "radio") element.checked = element.value === value;
      else if (element.type === "checkbox") element.checked = value === null ? true : value === true;
    }
    this.#opener.disabled = mode === "cascaded";
    if (document.activeElement !== this.#persona) this.#persona.value = chosen.persona;
    this.#volume.valueAsNumber = chosen.volume;
    write(this.#volumeFigure, fill(texts.units.percent, { n: Math.round(chosen.volume * 100) }));
    select(this.#voice, chosen.voice);
    select(this.#language, chosen.language);
    select(this.#preset, chosen.preset);
    select(this.#microphone, chosen.microphone);
    select(this.#speaker, chosen.speaker);
    write(this.#presetNote, this.#offer.presets.find((one) => one.id === chosen.preset)?.note ?? "");
  }

  /**
   * What was chosen in one field. The others may show something else than what is chosen: what is not offered now.
   * @param {EventTarget | null} field
   * @returns {Partial<Preferences>}
   */
  #read(field) {
    if (field === this.#persona) return { persona: this.#persona.value.trim() };
    if (field === this.#volume) return { volume: this.#volume.valueAsNumber };
    if (field instanceof HTMLSelectElement) return { [field.name]: field.value };
    if (!(field instanceof HTMLInputElement)) return {};
    return { [field.name]: field.type === "checkbox" ? field.checked : field.value };
  }

  #fillOffer() {
    const { presets, languages, voices, language } = this.#offer;
    const chosen = this.#chosen();
    const spoken = chosen.language || language.split("-")[0] || "";
    options(this.#preset, texts.settings.no_preset, presets.map(({ id, name }) => [id, name]));
    const others = languages.filter((one) => one !== language);
    options(this.#language, languageName(language), others.map((one) => [one, languageName(one)]));
    options(this.#voice, texts.settings.default_voice, offeredVoices(voices, spoken));
    show(this.#preset, presets.length > 0);
    show(this.#language, languages.length > 1);
    show(this.#voice, this.#voice.options.length > 1);
    this.render(chosen, chosen.mode ?? "");
  }

  /** The names of devices are told only to pages that have used one. */
  async #listDevices() {
    const devices = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
    /** @param {MediaDeviceKind} kind */
    const of = (kind) => {
      const named = devices.filter((one) => one.kind === kind && one.deviceId && one.deviceId !== "default");
      return named.map(({ deviceId, label }, n) => {
        const name = label || fill(texts.settings.device, { n: n + 1 });
        return /** @type {[string, string]} */ ([deviceId, name]);
      });
    };
    options(this.#microphone, texts.settings.default_device, of("audioinput"));
    options(this.#speaker, texts.settings.default_device, of("audiooutput"));
    show(this.#speaker, "setSinkId" in HTMLMediaElement.prototype && this.#speaker.options.length > 1);
    const { microphone, speaker } = this.#chosen();
    select(this.#microphone, microphone);
    select(this.#speaker, speaker);
  }
}

/**
 * Engines name voices by language tags, by names, or both: tags of the spoken language and all plain names are offered.
 * @param {readonly string[]} voices
 * @param {string} spoken first part of the spoken language's tag
 * @returns {[value: string, label: string][]}
 */
function offeredVoices(voices, spoken) {
  const tags = voices.filter((voice) => languageName(voice) !== voice);
  const plain = tags.length > 0 ? voices.filter((voice) => /^[\p{Lu}]/u.test(voice)) : voices;
  const near = tags.filter((voice) => voice.split("-")[0]?.toLowerCase() === spoken);
  return [...near, ...plain].map((voice) => [voice, languageName(voice)]);
}

const names = new Intl.DisplayNames([pageLanguage], { type: "language", fallback: "none" });

/**
 * @param {string} tag
 * @returns {string} the language's name in the page's language; what is no tag stays as it is
 */
function languageName(tag) {
  try {
    return names.of(tag) ?? tag;
  } catch {
    return tag;
  }
}

/**
 * @param {HTMLSelectElement} list
 * @param {string} first what an empty choice means
 * @param {[value: string, label: string][]} choices
 */
function options(list, first, choices) {
  const value = list.value;
  list.replaceChildren(
    ...[/** @type {[string, string]} */ (["", first]), ...choices].map(([one, label]) => {
      const option = make("option", "", label);
      option.value = one;
      return option;
    }),
  );
  select(list, value);
}

/**
 * @param {HTMLSelectElement} list
 * @param {string} value one that is not offered leaves the first
 */
function select(list, value) {
  const offered = [...list.options].some((option) => option.value === value);
  const wanted = offered ? value : "";
  if (list.value !== wanted) list.value = wanted;
}

/**
 * @param {HTMLSelectElement} list
 * @param {boolean} shown with its label
 */
function show(list, shown) {
  /** @type {HTMLElement} */ (list.closest("label")).hidden = !shown;
}
