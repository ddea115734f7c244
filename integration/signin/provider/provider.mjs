// An OpenID Connect provider for the tests of the sign-in: people are a JSON object {name:
// {groups, disabled}} that POST /people replaces, and sign-in needs only a name. POST /rotate
// gives it other signing keys, and POST /impersonate {from, to} lets a user act as another one. It is served below the path of its issuer. Its configuration is
// JSON in SIGNIN_PROVIDER.
import { generateKeyPairSync } from 'node:crypto'
import http from 'node:http'
import Provider from 'oidc-provider'

const { issuer, port, callback, backChannel } = JSON.parse(process.env.SIGNIN_PROVIDER)
const mount = new URL(issuer).pathname.replace(/\/$/, '')
let people = {}
let keys = 0

// Memory is the state that all providers of this process share, such as sessions. A provider's
// own memory would be lost with the keys.
const known = new Map()
class Memory {
  constructor(kind) { this.kind = kind }
  key(id) { return `${this.kind}:${id}` }
  async upsert(id, payload) { known.set(this.key(id), structuredClone(payload)) }
  async find(id) { return structuredClone(known.get(this.key(id))) }
  async findByUid(uid) { return structuredClone([...known].find(([key, value]) => key.startsWith(this.key('')) && value.uid === uid)?.[1]) }
  async findByUserCode() {}
  async consume(id) { known.get(this.key(id)).consumed = Math.floor(Date.now() / 1000) }
  async destroy(id) { known.delete(this.key(id)) }
  async revokeByGrantId(grant) { for (const [key, value] of known) if (value.grantId === grant) known.delete(key) }
}

// make makes a provider with its own key.
function make() {
  const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' })
  const provider = new Provider(issuer, configuration({ ...key, kid: `key-${++keys}`, use: 'sig', alg: 'RS256' }))
  provider.on('server_error', (_, error) => console.error(error))
  provider.on('backchannel.error', (_, error) => console.error(error))
  return provider
}

const configuration = (key) => ({
  adapter: Memory,
  jwks: { keys: [key] },
  clients: [{
    client_id: 'registry',
    client_secret: 'a secret of the tests',
    redirect_uris: [callback],
    grant_types: ['authorization_code', 'refresh_token'],
    backchannel_logout_uri: backChannel,
    backchannel_logout_session_required: true,
  }],
  claims: { openid: ['sub'], profile: ['preferred_username', 'groups'], email: ['email'] },
  conformIdTokenClaims: false,
  cookies: { keys: ['of the tests'] },
  features: { devInteractions: { enabled: false }, backchannelLogout: { enabled: true } },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_, id) => people[id] && !people[id].disabled ? {
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id, groups: people[id].groups, email: `${id}@example.org` }),
  } : undefined,
  // The default fetch refuses loopback addresses, which the tests use.
  fetch: (url, options) => fetch(url, { ...options, dispatcher: undefined }),
})
let provider = make()

// impersonate makes the browsers in which a user is signed in belong to another one, as
// administrators can do at Authentik. The next sign-in there asks for consent, not for a name.
function impersonate({ from, to }) {
  for (const [key, session] of known) {
    if (key.startsWith('Session:') && session.accountId === from) Object.assign(session, { accountId: to, authorizations: {} })
  }
}

async function body(request) {
  let text = ''
  for await (const chunk of request) text += chunk
  return text
}

async function interaction(request, response) {
  const { prompt, params, session } = await provider.interactionDetails(request, response)
  if (request.method === 'GET') {
    const input = prompt.name === 'login' ? '<label>Name <input name="name" autofocus></label>' : ''
    response.setHeader('Content-Type', 'text/html; charset=utf-8')
    response.end(`<!doctype html><title>Provider</title><form method="post">${input}<button id="go">Go on</button></form>`)
    return
  }
  const accountId = new URLSearchParams(await body(request)).get('name') ?? session.accountId
  const grant = new provider.Grant({ accountId, clientId: params.client_id })
  grant.addOIDCScope(params.scope)
  await provider.interactionFinished(request, response, { login: { accountId }, consent: { grantId: await grant.save() } })
}

http.createServer(async (request, response) => {
  try {
    if (request.url === '/people') {
      people = JSON.parse(await body(request))
      response.end()
    } else if (request.url === '/impersonate') {
      impersonate(JSON.parse(await body(request)))
      response.end()
    } else if (request.url === '/rotate') {
      provider = make()
      response.end(`key-${keys}`)
    } else if (request.url.startsWith('/interaction/')) {
      await interaction(request, response)
    } else if (request.url.startsWith(`${mount}/`)) {
      request.originalUrl = request.url
      request.url = request.url.slice(mount.length)
      provider.callback()(request, response)
    } else {
      response.statusCode = 404
      response.end()
    }
  } catch (error) {
    console.error(error)
    response.statusCode = 500
    response.end(String(error))
  }
}).listen(port, '127.0.0.1')
