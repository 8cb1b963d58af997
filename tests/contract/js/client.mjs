// What fal's JavaScript client sees; prints one JSON document. The sandbox answers under fal's own names.
import { fal } from "@fal-ai/client";

const LITE = "fal-ai/bytedance/seedance/v1/lite/text-to-video";
const FROM_IMAGE = "fal-ai/bytedance/seedance/v1/lite/image-to-video";
const SMALL = { prompt: "a kite over dunes", resolution: "480p", num_frames: 29, seed: 5 };
const told = {};

async function failure(work) {
  try {
    await work();
  } catch (error) {
    return { name: error.name, status: error.status, body: error.body };
  }
  return null;
}

const { request_id: requestId } = await fal.queue.submit(LITE, {
  input: SMALL,
  webhookUrl: "http://127.0.0.1:9000/js",
  priority: "low",
  hint: "lora-a",
  startTimeout: 60,
});
told.requestId = requestId;
told.first = (await fal.queue.status(LITE, { requestId, logs: true })).status;
const stream = await fal.queue.streamStatus(LITE, { requestId, logs: true });
told.events = [];
for await (const event of stream) {
  told.events.push(event.status);
}
const done = await fal.queue.status(LITE, { requestId, logs: true });
told.done = { status: done.status, logs: done.logs.length, metrics: done.metrics };
told.result = await fal.queue.result(LITE, { requestId });
told.cancelDone = await failure(() => fal.queue.cancel(LITE, { requestId }));
told.cancelUnknown = await failure(() => fal.queue.cancel(LITE, { requestId: crypto.randomUUID() }));

const updates = [];
told.subscribed = await fal.subscribe(LITE, {
  input: SMALL,
  logs: true,
  pollInterval: 50,
  onQueueUpdate: (update) => updates.push(update.status),
});
told.streamed = await fal.subscribe(LITE, { input: SMALL, mode: "streaming", logs: true });
told.updates = updates;
told.ran = await fal.run(LITE, { input: SMALL });
told.wrong = await failure(() => fal.subscribe(LITE, { input: { prompt: "x", aspect_ratio: "2:1" } }));
told.unknown = await failure(() => fal.subscribe("fal-ai/bytedance/nothing", { input: SMALL }));
told.failed = await failure(() => fal.subscribe(LITE, { input: { ...SMALL, prompt: "a broken lamp" } }));

const picture = new Blob([Buffer.from(process.env.PICTURE, "base64")], { type: "image/png" });
told.fromBlob = await fal.subscribe(FROM_IMAGE, { input: { ...SMALL, image_url: picture } });
const url = await fal.storage.upload(picture, { lifecycle: { expiresIn: "1d" } });
told.fromUrl = (await fal.subscribe(FROM_IMAGE, { input: { ...SMALL, image_url: url } })).data;
told.large = await fal.storage.upload(new Blob([new Uint8Array(90 * 2 ** 20 + 1)], { type: "video/mp4" }));
const stored = await fetch(told.large, { method: "HEAD" });
told.largeBytes = Number(stored.headers.get("content-length"));
const kept = await fal.queue.submit(LITE, { input: SMALL, storageSettings: { expiresIn: 1 } });
await fal.queue.subscribeToStatus(LITE, { requestId: kept.request_id, pollInterval: 50 });
told.shortLived = (await fal.queue.result(LITE, { requestId: kept.request_id })).data.video.url;

const slow = await fal.queue.submit(LITE, { input: { ...SMALL, prompt: "slow", resolution: "1080p" } });
told.cancelRunning = (await failure(() => fal.queue.cancel(LITE, { requestId: slow.request_id }))) ?? "requested";

told.printed = [];
for (const [path, input] of Object.entries(JSON.parse(process.env.PRINTED))) {
  const result = await fal.subscribe(`fal-ai/bytedance/seedance/${path}`, {
    input,
    logs: true,
    onQueueUpdate: (update) => {
      if (update.status === "IN_PROGRESS") {
        update.logs.map((log) => log.message).forEach((message) => console.error(message));
      }
    },
  });
  told.printed.push(result.data);
}
console.log(JSON.stringify(told));
