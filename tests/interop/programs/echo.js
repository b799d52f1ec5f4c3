// A bot that answers direct messages and mentions, with zulip-js.
// usage: node echo.js ZULIPRC (with zulip-js in NODE_PATH)
const zulipInit = require('zulip-js');

const zuliprc = process.argv[2];

function check(response) {
  if (response.result !== 'success') {
    throw Object.assign(new Error(response.msg), { code: response.code });
  }
  return response;
}

async function answer(client, me, { message, flags }) {
  const isDirect = message.type === 'private';
  if (message.sender_id === me.user_id || !(isDirect || flags.includes('mentioned'))) {
    return;
  }
  const to = isDirect ? [message.sender_id] : message.display_recipient;
  const type = isDirect ? 'direct' : 'channel';
  const params = { type, to, content: 'beep boop', ...(isDirect ? {} : { topic: message.subject }) };
  check(await client.messages.send(params));
}

// zulip-js reads the key once: a new client reads the zuliprc again.
async function serve() {
  const client = await zulipInit({ zuliprc });
  const me = check(await client.users.me.getProfile());
  const queue = check(await client.queues.register({ event_types: ['message'] }));
  let lastEventId = queue.last_event_id;
  for (;;) {
    const query = { queue_id: queue.queue_id, last_event_id: lastEventId };
    const { events } = check(await client.events.retrieve(query));
    for (const event of events) {
      lastEventId = event.id;
      if (event.type === 'message') {
        await answer(client, me, event);
      }
    }
  }
}

(async () => {
  for (;;) {
    try {
      await serve();
    } catch (error) {
      if (!['UNAUTHORIZED', 'BAD_EVENT_QUEUE_ID'].includes(error.code)) {
        throw error;
      }
      console.error(error.message);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
})();
