"use strict";
/* The player: sounds of one length that run side by side, of which one is heard. */

const FADE_S = 0.005;

class Player {
  /** sounds: [{gain, rms}], duration in seconds; tell() is called when anything changes. */
  constructor(sounds, channels, tell) {
    Object.assign(this, { sounds, channels, tell, selected: 0, matched: false, channel: -1, loop: null, playing: false });
    this.buffers = []; this.duration = 0; this.started = 0; this.offset = 0; this.context = null;
  }

  /** Decode FLAC files, given as ArrayBuffers. */
  async decode(files, rate) {
    const decoder = new OfflineAudioContext(1, 1, rate);
    this.buffers = await Promise.all(files.map((file) => decoder.decodeAudioData(file)));
    this.duration = Math.min(...this.buffers.map((buffer) => buffer.duration));
  }

  /** Common position of the sounds in seconds. */
  get position() {
    if (!this.playing) return this.offset;
    const gone = this.offset + Math.max(0, this.context.currentTime - this.started);
    if (!this.loop) return Math.min(gone, this.duration);
    const [start, end] = this.loop;
    return gone < end ? gone : start + ((gone - start) % (end - start));
  }

  async play() {
    if (this.playing || !this.buffers.length) return;
    this.context ||= this.wire();
    await this.context.resume();
    if (this.playing) return; // asked twice while the device was opening
    if (this.loop && (this.offset < this.loop[0] || this.offset >= this.loop[1])) this.offset = this.loop[0];
    if (!this.loop && this.offset >= this.duration - 0.001) this.offset = 0;
    this.started = this.context.currentTime + 0.02;
    this.sources = this.buffers.map((buffer, place) => {
      const source = new AudioBufferSourceNode(this.context, { buffer });
      if (this.loop) Object.assign(source, { loop: true, loopStart: this.loop[0], loopEnd: this.loop[1] });
      source.connect(this.gains[place]);
      source.start(this.started, this.offset);
      return source;
    });
    const sources = this.sources;
    sources[0].onended = () => { if (this.sources === sources) { this.stop(); this.offset = this.duration; this.tell(); } };
    this.playing = true;
    this.mix(0);
    this.tell();
  }

  pause() {
    if (!this.playing) return;
    this.offset = this.position;
    this.stop();
    this.tell();
  }

  stop() {
    const sources = this.sources;
    this.sources = null;
    this.playing = false;
    for (const source of sources) source.stop();
  }

  /** Seek; playback continues. */
  async seek(seconds) {
    const on = this.playing;
    if (on) this.stop();
    this.offset = Math.min(Math.max(0, seconds), this.duration);
    if (on) await this.play(); else this.tell();
  }

  select(place) { this.selected = place; this.mix(FADE_S); this.tell(); }
  match(on) { this.matched = on; this.mix(FADE_S); this.tell(); }

  /** Loop [start, end] in seconds; null for no loop. */
  async repeat(stretch) {
    const on = this.playing;
    if (on) this.pause();
    this.loop = stretch;
    if (on) await this.play(); else this.tell();
  }

  /** Gain of a sound. */
  factor(place) {
    const { gain, rms } = this.sounds[place];
    return gain * (this.matched && place === 2 && rms > 0 ? this.sounds[0].rms / rms : 1);
  }

  mix(fade) {
    if (!this.context) return;
    const now = this.context.currentTime;
    this.gains.forEach((node, place) => {
      const aim = place === this.selected ? this.factor(place) : 0;
      node.gain.cancelScheduledValues(now);
      node.gain.setValueAtTime(node.gain.value, now);
      node.gain.linearRampToValueAtTime(aim, now + fade);
    });
  }

  /** Play one channel, or all for -1. */
  listen(channel) {
    this.channel = channel;
    if (this.context) this.route();
    this.tell();
  }

  wire() {
    const context = new AudioContext();
    this.gains = this.buffers.map(() => new GainNode(context, { gain: 0 }));
    this.splitter = new ChannelSplitterNode(context, { numberOfOutputs: this.channels });
    this.output = new GainNode(context, { gain: 1 });
    this.bus = new GainNode(context);
    for (const gain of this.gains) gain.connect(this.bus);
    this.output.connect(context.destination);
    this.context = context;
    this.route();
    return context;
  }

  /** One or two channels are played as they are; more, which have no standard layout here, as their mean. */
  route() {
    this.bus.disconnect(); this.splitter.disconnect();
    this.output.gain.value = this.channel < 0 && this.channels > 2 ? 1 / this.channels : 1;
    if (this.channel < 0 && this.channels <= 2) { this.bus.connect(this.output); return; }
    this.bus.connect(this.splitter);
    const heard = this.channel < 0 ? [...Array(this.channels).keys()] : [this.channel];
    for (const channel of heard) this.splitter.connect(this.output, channel);
  }
}
